package main

import (
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	nonRoot      = 65532
	postgresUID  = 999
	hostUID      = 1000
	certificates = "/etc/ssl/certs/ca-certificates.crt"
)

//go:embed postgres-entrypoint.sh
var postgresEntrypoint string

//go:embed host-entrypoint.sh
var hostEntrypoint string

// static is an image of one static binary, with the public certificate authorities if this
// machine has them.
func static(bin, name string) (*recipe, error) {
	r := newRecipe("localhost/"+name+":dev", nonRoot)
	program := filepath.Join(bin, name)
	if err := mustBeStatic(program); err != nil {
		return nil, err
	}
	if err := r.file(program, "usr/local/bin/"+name); err != nil {
		return nil, err
	}
	if _, err := os.Stat(certificates); err == nil {
		if err := r.file(certificates, certificates); err != nil {
			return nil, err
		}
	}
	r.config.Entrypoint = []string{"/usr/local/bin/" + name}
	r.put("etc/passwd", entry{content: passwd("nonroot", nonRoot), mode: 0o644})
	r.put("tmp", entry{dir: true, mode: 0o1777})
	return r, nil
}

// mustBeStatic refuses a program that would look for a loader that the image lacks.
func mustBeStatic(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("%w: make build makes it", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: make build links it statically", program)
		}
	}
	return nil
}

func pauseImage(program string) (*recipe, error) {
	if program == "" {
		return nil, errors.New("-pause must name the program")
	}
	r := newRecipe("localhost/pause:1", 65535)
	r.config.Entrypoint = []string{"/pause"}
	return r, r.file(program, "pause")
}

func busyboxImage() (*recipe, error) {
	r := newRecipe("localhost/busybox:dev", nonRoot)
	r.config.Cmd = []string{"/bin/sh"}
	r.put("etc/passwd", entry{content: passwd("nonroot", nonRoot), mode: 0o644})
	r.put("tmp", entry{dir: true, mode: 0o1777})
	return r, r.busybox()
}

// demoClient has psql and a shell.
func demoClient() (*recipe, error) {
	r, err := busyboxImage()
	if err != nil {
		return nil, err
	}
	r.reference = "localhost/cardea-demo-client:dev"
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	if err := r.file(filepath.Join(bin, "psql"), "usr/bin/psql"); err != nil {
		return nil, err
	}
	return r, r.libraries()
}

// demoPostgres is a PostgreSQL server that makes its database when it starts.
func demoPostgres() (*recipe, error) {
	r := newRecipe("localhost/cardea-demo-postgres:dev", postgresUID)
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	for _, p := range []string{"postgres", "initdb", "pg_ctl", "pg_isready", "psql"} {
		if err := r.file(filepath.Join(bin, p), filepath.Join(bin, p)); err != nil {
			return nil, err
		}
		r.put("usr/bin/"+p, entry{link: filepath.Join(bin, p)})
	}
	home := filepath.Dir(bin)
	// The just-in-time compiler brings all of LLVM along, and no demo needs it.
	noJIT := func(name string) bool {
		return strings.HasPrefix(name, "llvmjit") || name == "bitcode" || name == "pgxs"
	}
	for _, dir := range []string{filepath.Join(home, "lib"), filepath.Join("/usr/share/postgresql", filepath.Base(home)), "/usr/share/zoneinfo"} {
		if err := r.tree(dir, noJIT); err != nil {
			return nil, err
		}
	}
	if err := r.busybox(); err != nil {
		return nil, err
	}
	r.put("etc/passwd", entry{content: passwd("postgres", postgresUID), mode: 0o644})
	r.put("tmp", entry{dir: true, mode: 0o1777})
	r.put("usr/local/bin/entrypoint", entry{content: postgresEntrypoint, mode: 0o755})
	r.config.Entrypoint = []string{"/usr/local/bin/entrypoint"}
	return r, r.libraries()
}

// demoHost is a host with an SSH server and a service.
func demoHost() (*recipe, error) {
	r := newRecipe("localhost/cardea-demo-host:dev", hostUID)
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		return nil, fmt.Errorf("%w; on Debian: apt-get install openssh-server", err)
	}
	if err := r.file(sshd, sshd); err != nil {
		return nil, err
	}
	if err := r.busybox(); err != nil {
		return nil, err
	}
	r.put("etc/passwd", entry{content: passwd("deploy", hostUID), mode: 0o644})
	r.put("tmp", entry{dir: true, mode: 0o1777})
	r.put("usr/local/bin/entrypoint", entry{content: hostEntrypoint, mode: 0o755})
	r.config.Entrypoint = []string{"/usr/local/bin/entrypoint"}
	return r, r.libraries()
}

func passwd(name string, uid int) string {
	return fmt.Sprintf("root:x:0:0:root:/:/bin/sh\n%s:x:%d:%d:%s:/tmp:/bin/sh\n", name, uid, uid, name)
}

// postgresBin returns the folder with the newest PostgreSQL server that Debian installed.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", errors.Join(errors.New("no PostgreSQL server is installed; on Debian: apt-get install postgresql"), err)
	}
	major := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return major(a) - major(b) })
	return filepath.Dir(newest), nil
}

// busybox adds a static shell with its programs, none of which replaces one that is there.
func (r *recipe) busybox() error {
	program, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w; on Debian: apt-get install busybox-static", err)
	}
	if err := mustBeStatic(program); err != nil {
		return fmt.Errorf("%w; on Debian: apt-get install busybox-static", err)
	}
	if err := r.file(program, "bin/busybox"); err != nil {
		return err
	}
	list, err := exec.Command(program, "--list").Output()
	if err != nil {
		return err
	}
	for _, applet := range strings.Fields(string(list)) {
		if _, taken := r.entries["bin/"+applet]; !taken {
			r.put("bin/"+applet, entry{link: "/bin/busybox"})
		}
	}
	return nil
}

// libraries adds every shared library that the programs and libraries of the image load,
// and the loader, where the loader looks for them.
func (r *recipe) libraries() error {
	for _, at := range r.paths() {
		e := r.entries[at]
		if e.source == "" || !isDynamic(e.source) {
			continue
		}
		out, err := exec.Command("ldd", e.source).Output()
		if err != nil {
			return fmt.Errorf("ldd %s: %w", e.source, err)
		}
		for line := range strings.Lines(string(out)) {
			// "libpq.so.5 => /lib/x86_64-linux-gnu/libpq.so.5 (0x…)" or "/lib64/ld-linux-x86-64.so.2 (0x…)"
			fields := strings.Fields(line)
			if len(fields) > 2 && fields[1] == "=>" {
				fields = fields[2:]
			}
			if len(fields) == 0 || !strings.HasPrefix(fields[0], "/") {
				if strings.Contains(line, "not found") {
					return fmt.Errorf("%s: %s", e.source, strings.TrimSpace(line))
				}
				continue
			}
			if err := r.file(fields[0], fields[0]); err != nil {
				return err
			}
		}
	}
	return nil
}

func isDynamic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	return err == nil && len(needed) > 0
}

package rsync_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
	"github.com/cardea-dev/cardea/proxy/engine/ssh/files/rsync"
)

// argumentsVariable makes the test binary what rsync starts in the place of ssh: it writes the words
// that it was given to a file.
const argumentsVariable = "CARDEA_TEST_ARGUMENTS"

func TestMain(m *testing.M) {
	if file := os.Getenv(argumentsVariable); file != "" {
		if err := os.WriteFile(file, []byte(strings.Join(os.Args[1:], "\n")), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestOfRsync: what rsync's own client starts, for options as they are used.
func TestOfRsync(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]*rsync.Command{
		"-a f host:":                             {Paths: []string{"."}, Recursive: true},
		"f host:d/":                              {Paths: []string{"d/"}},
		"-avz f host:/srv/d":                     {Paths: []string{"/srv/d"}, Recursive: true},
		"-aHAXxv --numeric-ids f host:d":         {Paths: []string{"d"}, Recursive: true},
		"-a --delete --partial f host:d":         {Paths: []string{"d"}, Recursive: true, Delete: true},
		"-an --delete-after f host:d":            {Paths: []string{"d"}, Recursive: true, Delete: true, DryRun: true},
		"-ai --progress --bwlimit=10 f host:":    {Paths: []string{"."}, Recursive: true},
		"-rltcu --inplace f host:d":              {Paths: []string{"d"}, Recursive: true},
		"-a --info=progress2 --stats host:d .":   {Sender: true, Paths: []string{"d"}, Recursive: true},
		"-a --exclude=x host:d .":                {Sender: true, Paths: []string{"d"}, Recursive: true},
		"-z host:d/f .":                          {Sender: true, Paths: []string{"d/f"}},
		"-R host:/d/./f :g .":                    {Sender: true, Paths: []string{"/d/./f", "g"}},
		"--list-only host:d":                     {Sender: true, Paths: []string{"d"}},
		"-a -s f host:d":                         nil,
		"-aL host:d .":                           nil,
		"-aK f host:d":                           nil,
		"-a --backup-dir=/b f host:d":            nil,
		"-a --temp-dir=/b f host:d":              nil,
		"-a --link-dest=/b f host:d":             nil,
		"-a --files-from=:/l host:d .":           nil,
		"-a --remove-source-files host:d .":      nil,
		"-a -M--log-file=/l f host:d":            nil,
		"-a --copy-unsafe-links host:d .":        nil,
		"-a --write-devices f host:d":            nil,
		"-a --fake-super -M--fake-super f host:": nil,
		"-a host:~u/d .":                         nil,
		"-a host:d/* .":                          nil,
	} {
		t.Run(line, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "arguments")
			if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("rsync", append([]string{"-e", program}, strings.Fields(line)...)...)
			cmd.Env, cmd.Dir = append(os.Environ(), argumentsVariable+"="+file, "GORACE=atexit_sleep_ms=0"), dir
			out, _ := cmd.CombinedOutput() // it fails, for there is nobody to speak to
			written, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			words := strings.Split(string(written), "\n")[1:] // behind the host
			got, ok := rsync.Parse(words)
			if want == nil {
				if ok {
					t.Errorf("%q is recognised", words)
				}
				return
			}
			if diff := cmp.Diff(*want, got); diff != "" || !ok {
				t.Errorf("%q: %v %s", words, ok, diff)
			}
		})
	}
}

func TestNotRecognised(t *testing.T) {
	for _, line := range []string{
		"", "rsync", "rsync --server", "rsync --server .", "rsync --server --sender -e.i . ", "rsync --server d",
		"rsync --daemon . d", "rsync --server --daemon .", "rsync --server --config=/x . d", "/tmp/rsync --server . d",
		"rsync -a --server . d", "rsync --server -e.i . d e", "rsync --server -re/bin/sh . d", "rsync --server -e sh . d",
		"rsync --server -e.i;sh . d", "rsync --server --rsh=sh . d", "rsync --server --log-file=/x . d", "rsync --server -T/x . d",
		"rsync --server --new-option . d", "rsync --server --partial=x . d", "rsync --server --timeout . d", "rsync --server -e.i /x d",
		"rsync --server --sender -f.i . d",
	} {
		if c, ok := rsync.Parse(strings.Fields(line)); ok {
			t.Errorf("%q: %+v", line, c)
		}
	}
}

func TestOperations(t *testing.T) {
	from := rsync.Command{Sender: true, Paths: []string{"a", "b"}}
	if diff := cmp.Diff([]files.Operation{{Action: files.Open, Asked: "a", Access: files.Read, Tree: true}, {Action: files.Open, Asked: "b", Access: files.Read, Tree: true}}, from.Operations()); diff != "" {
		t.Error(diff)
	}
	for path, want := range map[string]bool{"/srv/d": false, "/": true, "/etc": true, "/etc/ssh": true, ".ssh/": true, "d": false} {
		to := rsync.Command{Paths: []string{path}}
		if got := to.Operations()[0].Facts().LetsIn(); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
}

// FuzzParse: what is recognised names paths, and only options that are known.
func FuzzParse(f *testing.F) {
	f.Add("rsync\x00--server\x00-logDtpre.iLsfxCIvu\x00--delete\x00.\x00d")
	f.Add("rsync\x00--server\x00--sender\x00-vlogDtprze.iLsfxCIvu\x00.\x00a\x00b")
	f.Fuzz(func(t *testing.T, words string) {
		split := strings.Split(words, "\x00")
		c, ok := rsync.Parse(split)
		if !ok {
			return
		}
		if len(c.Paths) == 0 || len(c.Paths) > 1 && !c.Sender || len(c.Operations()) != len(c.Paths) {
			t.Errorf("%q: %+v", split, c)
		}
		for _, p := range c.Paths {
			if p == "" || p[0] == '~' {
				t.Errorf("%q: %+v", split, c)
			}
		}
	})
}

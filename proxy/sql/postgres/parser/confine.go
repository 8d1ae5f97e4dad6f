package parser

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// maxMemory is what a worker may map in bytes beyond what the program itself maps.
const maxMemory = 768 << 20

// confine takes from this process what parsing does not need, and checks that it is gone.
func confine() error {
	if err := closeFiles(); err != nil {
		return err
	}
	mapped, err := mappedBytes()
	if err != nil {
		return err
	}
	limits := []struct {
		name  string
		which int
		value uint64
	}{
		{"address space", unix.RLIMIT_AS, mapped + maxMemory},
		{"core size", unix.RLIMIT_CORE, 0},
		{"open files", unix.RLIMIT_NOFILE, 8},
		{"file size", unix.RLIMIT_FSIZE, 0},
	}
	for _, l := range limits {
		if err := unix.Setrlimit(l.which, &unix.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("limit the parser's %s: %w", l.name, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the parser undumpable: %w", err)
	}
	if err := filter(); err != nil {
		return err
	}
	return verifyConfined()
}

// closeFiles closes what the proxy's own starter left open, apart from the runtime's.
func closeFiles() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list the parser's open files: %w", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		to, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil || strings.HasPrefix(to, "anon_inode:[event") {
			continue
		}
		_ = unix.Close(fd)
	}
	return nil
}

// mappedBytes returns how much this process maps: the limit counts what the runtime
// reserved and never uses.
func mappedBytes() (uint64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("read the parser's size: %w", err)
	}
	first, _, _ := strings.Cut(string(b), " ")
	pages, err := strconv.ParseUint(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the parser's size: %w", err)
	}
	return pages * uint64(os.Getpagesize()), nil
}

// filter leaves the system calls that the Go runtime and the C library use to compute:
// memory, threads of this process, time, signals to itself, the open pipes.
func filter() error {
	noExec := seccomp.ArgumentConditions{{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC}}
	self := seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: uint64(unix.Getpid())}}
	thread := seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD}}
	policy := seccomp.Policy{
		DefaultAction: seccomp.ActionErrno,
		Syscalls: []seccomp.SyscallGroup{{
			Action: seccomp.ActionAllow,
			Names: []string{"read", "write", "close", "munmap", "mremap", "madvise", "brk", "futex", "nanosleep", "clock_nanosleep", "clock_gettime",
				"sched_yield", "sched_getaffinity", "getpid", "gettid", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
				"set_robust_list", "rseq", "exit", "exit_group", "epoll_pwait", "epoll_ctl", "getrandom", "mincore"},
			NamesWithCondtions: []seccomp.NameWithConditions{
				{Name: "mmap", Conditions: noExec},
				{Name: "mprotect", Conditions: noExec},
				{Name: "tgkill", Conditions: self},
				{Name: "clone", Conditions: thread},
			},
		}, {
			// clone3 takes its flags in memory, where a filter cannot see them: the C library falls
			// back to clone if it is missing.
			Action: seccomp.ActionErrno&^0xffff | seccomp.Action(unix.ENOSYS),
			Names:  []string{"clone3"},
		}},
	}
	err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy})
	if err != nil {
		return fmt.Errorf("confine the parser: %w", err)
	}
	return nil
}

var errUnconfined = errors.New("the parser's system-call filter is not in force")

// verifyConfined tries what must not work any more.
func verifyConfined() error {
	for name, try := range forbidden {
		if err := try(); err == nil {
			return fmt.Errorf("%w: %s", errUnconfined, name)
		}
	}
	return nil
}

// forbidden are probes of rights that a worker must not have; each has no effect even if
// it works.
var forbidden = map[string]func() error{
	"socket": func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	},
	"open": func() error {
		fd, err := unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	},
	"kill":   func() error { return unix.Kill(unix.Getppid(), 0) },
	"ptrace": func() error { return unix.PtraceAttach(0) },
}

// Command cardea-proxy is the gate: it takes connections for the Targets of one namespace,
// or, with --manifests, for those of a folder.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/cardea-dev/cardea/proxy/sql/postgres"
)

func main() {
	// The parser runs in processes of its own, which are this program started again.
	postgres.WorkerMain()
	os.Exit(start(os.Args[1:]))
}

// start runs the program and returns its exit code.
func start(args []string) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		return fail(err)
	case o.version:
		fmt.Println("cardea-proxy", version())
		return 0
	}
	// Logins and keys lie in this process's memory: nobody but root may read it, or a core of it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fail(fmt.Errorf("make the process undumpable: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, o); err != nil {
		return fail(err)
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintf(os.Stderr, "cardea-proxy: %v\n", err)
	return 1
}

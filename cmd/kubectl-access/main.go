// Command kubectl-access is the kubectl plugin `kubectl access`.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/access"
	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/explain"
)

func main() {
	// The parser of explain runs in a process of its own, which is this program started again.
	explain.WorkerMain()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(access.Main(streams, os.Args[1:]))
}

//go:build !linux || !cgo

package explain

import (
	"context"
	"errors"

	"github.com/cardea-dev/cardea/proxy/policy"
)

// errNoParser says that this build lacks PostgreSQL's parser.
var errNoParser = errors.New("this build of the plugin cannot read SQL: use the one for Linux that `make build` makes")

// WorkerMain returns at once: there is no parser here.
func WorkerMain() {}

// Database is not available in this build.
type Database struct{}

// Open returns an error: there is no parser here.
func Open(context.Context, string) (*Database, error) { return nil, errNoParser }

// Close does nothing.
func (*Database) Close(context.Context) {}

func (*Report) statement(context.Context, *policy.Admission, bool, []byte, *Database) error {
	return errNoParser
}

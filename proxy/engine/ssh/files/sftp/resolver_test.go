package sftp_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
	"github.com/cardea-dev/cardea/proxy/engine/ssh/files/sftp"
)

func TestResolver(t *testing.T) {
	for name, begin := range servers {
		t.Run(name, func(t *testing.T) {
			home := folder(t)
			plant(t, home)
			if err := os.Symlink("self", filepath.Join(home, "self")); err != nil {
				t.Fatal(err)
			}
			r, err := sftp.NewResolver(t.Context(), begin(t, home))
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]*files.Place{
				".":            {Path: home, Exists: true, Directory: true},
				"/":            {Path: "/", Exists: true, Directory: true},
				"d/":           {Path: home + "/d", Exists: true, Directory: true},
				"d/f":          {Path: home + "/d/f", Exists: true},
				"d/new":        {Path: home + "/d/new"},
				"alias":        {Path: home + "/.ssh", Exists: true, Directory: true},
				"home/totorc":  {Path: home + "/.ssh/rc", Exists: true},
				"tonew":        {Path: home + "/.ssh/new"},
				"d/up/d/../x":  {Path: home + "/x"},
				"":             nil,
				"no/such/file": nil,
				"self":         nil,
				"d/\x00":       nil,
			} {
				got, err := r.Resolve(t.Context(), path)
				var refusal *files.Refusal
				if want == nil {
					if !errors.As(err, &refusal) {
						t.Errorf("%q: %+v, %v", path, got, err)
					}
					continue
				}
				if diff := cmp.Diff(*want, got); diff != "" || err != nil {
					t.Errorf("%q: %v %s", path, err, diff)
				}
			}
			cancelled, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := r.Resolve(cancelled, "."); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			_ = r.Close()
			if _, err := r.Resolve(t.Context(), "."); err == nil {
				t.Error("it answers after its end")
			}
		})
	}
}

func TestResolverOfNoServer(t *testing.T) {
	ours, theirs := pair(t)
	if _, err := theirs.Write([]byte("Welcome to this host\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := sftp.NewResolver(t.Context(), ours); err == nil {
		t.Error("it began")
	}
}

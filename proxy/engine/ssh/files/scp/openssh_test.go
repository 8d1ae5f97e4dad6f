package scp_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

func TestOpenSSH(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<16)
	for name, tc := range map[string]struct {
		args         []string
		local, there map[string]string
		refused      string // a name
		wantLocal    map[string]string
		wantThere    map[string]string
		says         string
	}{
		"up":               {args: []string{"f", "host:"}, local: map[string]string{"f": large}, wantThere: map[string]string{"f": large}},
		"up by name":       {args: []string{"f", "host:g"}, local: map[string]string{"f": "x"}, wantThere: map[string]string{"g": "x"}},
		"up, empty":        {args: []string{"f", "host:g"}, local: map[string]string{"f": ""}, wantThere: map[string]string{"g": ""}},
		"up, several":      {args: []string{"-p", "f", "g", "host:d"}, local: map[string]string{"f": "x", "g": "y"}, there: map[string]string{"d/h": ""}, wantThere: map[string]string{"d/h": "", "d/f": "x", "d/g": "y"}},
		"up, a tree":       {args: []string{"-rp", "d", "host:e"}, local: map[string]string{"d/f": "x", "d/g/h": large, "d/i": ""}, wantThere: map[string]string{"e/f": "x", "e/g/h": large, "e/i": ""}},
		"up, to nothing":   {args: []string{"f", "host:no/g"}, local: map[string]string{"f": "x"}, says: "no such file"},
		"up, one refused":  {args: []string{"-r", "d", "host:"}, local: map[string]string{"d/a": "a", "d/b": "b", "d/c": "c"}, refused: "b", wantThere: map[string]string{"d/a": "a", "d/c": "c"}, says: "no, by rule"},
		"up, dir refused":  {args: []string{"-rp", "d", "host:"}, local: map[string]string{"d/a": "a", "d/b/x": "b", "d/c": "c"}, refused: "b", wantThere: map[string]string{"d/a": "a", "d/c": "c"}, says: "no, by rule"},
		"up, times kept":   {args: []string{"-p", "b", "c", "host:."}, local: map[string]string{"b": "b", "c": "c"}, refused: "b", wantThere: map[string]string{"c": "c"}, says: "no, by rule"},
		"up to .ssh":       {args: []string{"f", "host:.ssh"}, local: map[string]string{"f": "x"}, there: map[string]string{".ssh/rc": "mine"}, says: "no, by rule"},
		"up to keys":       {args: []string{"f", "host:.ssh/authorized_keys"}, local: map[string]string{"f": "x"}, there: map[string]string{".ssh/authorized_keys": "mine"}, says: "no, by rule"},
		"up, a tree .ssh":  {args: []string{"-r", "d", "host:"}, local: map[string]string{"d/.ssh/rc": "x"}, there: map[string]string{"d/.ssh/rc": "mine"}, says: "no, by rule"},
		"down":             {args: []string{"host:f", "."}, there: map[string]string{"f": large}, wantLocal: map[string]string{"f": large}},
		"down by name":     {args: []string{"-p", "host:d/f", "g"}, there: map[string]string{"d/f": "x"}, wantLocal: map[string]string{"g": "x"}},
		"down, a tree":     {args: []string{"-rp", "host:d", "e"}, there: map[string]string{"d/f": "x", "d/g/h": large}, wantLocal: map[string]string{"e/f": "x", "e/g/h": large}},
		"down, a pattern":  {args: []string{"host:d/*.log", "."}, there: map[string]string{"d/a.log": "a", "d/b.log": "b", "d/c": "c"}, wantLocal: map[string]string{"a.log": "a", "b.log": "b"}},
		"down, nothing":    {args: []string{"host:f", "."}, says: "no such file"},
		"down, refused":    {args: []string{"host:b", "."}, there: map[string]string{"b": "x"}, refused: "b", says: "no, by rule"},
		"down, one of all": {args: []string{"-rp", "host:d", "."}, there: map[string]string{"d/a": "a", "d/b/c": "b", "d/e": "e"}, refused: "b", wantLocal: map[string]string{"d/a": "a", "d/e": "e"}, says: "no, by rule"},
	} {
		for _, resolve := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, resolved %v", name, resolve), func(t *testing.T) {
				dir, home := folder(t), folder(t)
				for at, content := range tc.local {
					write(t, filepath.Join(dir, at), content)
				}
				for at, content := range tc.there {
					write(t, filepath.Join(home, at), content)
				}
				old := time.Unix(1e9, 0)
				for at := range tc.local {
					if err := os.Chtimes(filepath.Join(dir, at), old, old); err != nil {
						t.Fatal(err)
					}
				}
				j, n := &judge{}, &notes{}
				if tc.refused != "" {
					j.refused = func(op files.Operation) bool { return path.Base(op.Asked) == tc.refused }
				}
				out, err := run(t, j, n, resolve, dir, home, tc.args...)
				if err != nil {
					t.Error(err)
				}
				if (tc.says == "") != (out == "") || !strings.Contains(strings.ToLower(out), tc.says) {
					t.Errorf("scp says %q", out)
				}
				for _, side := range []struct {
					root         string
					before, want map[string]string
				}{{dir, tc.local, tc.wantLocal}, {home, tc.there, tc.wantThere}} {
					want := map[string]string{}
					maps.Copy(want, side.before)
					maps.Copy(want, side.want)
					if diff := cmp.Diff(want, tree(t, side.root)); diff != "" {
						t.Error(diff)
					}
				}
				if strings.Contains(tc.args[0], "p") {
					for at := range tc.wantThere {
						if info, err := os.Stat(filepath.Join(home, at)); err != nil || tc.there[at] == "" && at != "d/h" && !info.ModTime().Equal(old) {
							t.Errorf("%s: %v %v", at, info, err)
						}
					}
				}
				if len(n.outcomes) < len(j.asked) || !resolve && len(n.outcomes) > len(j.asked) {
					t.Errorf("%d of %d are logged", len(n.outcomes), len(j.asked))
				}
				for _, o := range n.outcomes {
					if resolve && o.Result != files.Unresolved && (!strings.HasPrefix(o.Operation.Path, home+"/") || o.Operation.To != "") {
						t.Errorf("%+v", o.Operation)
					}
					if o.Result != files.Succeeded || o.Operation.Action != files.Open {
						continue
					}
					content := o.Transfer.Written
					all := tree(t, home)
					if o.Operation.Reads() {
						content = o.Transfer.Read
					}
					got, there := all[path.Clean(o.Operation.Asked)]
					if !there {
						got = all[path.Clean(o.Operation.AskedTo)]
					}
					if !content.Sequential || content.SHA256 != sha256.Sum256([]byte(got)) || content.Bytes != int64(len(got)) || o.Operation.Size != content.Bytes {
						t.Errorf("%s: %+v", o.Operation.String(), o.Transfer)
					}
				}
			})
		}
	}
}

// TestLinksOnTheTarget: with a resolver no link leads round the baseline.
func TestLinksOnTheTarget(t *testing.T) {
	for name, args := range map[string][]string{
		"a link to the directory":        {"f", "host:alias"},
		"into it":                        {"f", "host:alias/rc"},
		"by two":                         {"f", "host:twice/rc"},
		"a link to the file":             {"f", "host:torc"},
		"a link to what is not there":    {"f", "host:tonew"},
		"a link in a directory":          {"torc", "host:"},
		"a directory that is a link":     {"-r", "alias", "host:"},
		"a directory that is one, there": {"-r", "d", "host:d2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, home := folder(t), folder(t)
			write(t, filepath.Join(dir, "f"), "x")
			write(t, filepath.Join(dir, "torc"), "x")
			write(t, filepath.Join(dir, "alias/rc"), "x")
			write(t, filepath.Join(dir, "d/sub/rc"), "x")
			write(t, filepath.Join(home, ".ssh/rc"), "mine")
			write(t, filepath.Join(home, "d2/keep"), "")
			for link, to := range map[string]string{"alias": ".ssh", "twice": "alias", "torc": "alias/rc", "tonew": "alias/new", "d2/d": "../.ssh"} {
				if err := os.Symlink(to, filepath.Join(home, link)); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, filepath.Join(home, ".ssh"))
			out, err := run(t, &judge{}, &notes{}, true, dir, home, args...)
			if err != nil || !strings.Contains(out, "no, by rule") {
				t.Errorf("%v: %s", err, out)
			}
			if diff := cmp.Diff(before, tree(t, filepath.Join(home, ".ssh"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

package files_test

import (
	"testing"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

func TestLetsIn(t *testing.T) {
	open := func(path string, a files.Access) files.Operation {
		return files.Operation{Action: files.Open, Path: path, Access: a}
	}
	for name, tc := range map[string]struct {
		op   files.Operation
		want bool
	}{
		"the zero operation":      {files.Operation{Path: "/home/u/.ssh"}, true},
		"reading":                 {open("/home/u/.ssh/config", files.Read), false},
		"writing":                 {open("/home/u/.ssh/config", files.Write), true},
		"making":                  {open("/home/u/.ssh/config", files.Read|files.Create), true},
		"truncating":              {open("/home/u/.ssh/config", files.Read|files.Truncate), true},
		"appending":               {open("/home/u/.ssh/config", files.Read|files.Append), true},
		"as it was asked":         {files.Operation{Action: files.Remove, Path: "/mnt/k/rc", Asked: ".ssh/rc"}, true},
		"looking":                 {files.Operation{Action: files.List, Path: "/home/u/.ssh"}, false},
		"renaming away":           {files.Operation{Action: files.Rename, Path: "/home/u/.ssh", To: "/home/u/x"}, true},
		"renaming onto":           {files.Operation{Action: files.Rename, Path: "/home/u/x", To: "/home/u/.ssh"}, true},
		"renaming what is above":  {files.Operation{Action: files.Rename, Path: "/etc", To: "/e"}, true},
		"making what is above":    {files.Operation{Action: files.Rename, Path: "/e", To: "/etc"}, true},
		"a link to what is above": {files.Operation{Action: files.SymbolicLink, Path: "/home/u/x", To: "/"}, true},
		"a link into it":          {files.Operation{Action: files.SymbolicLink, Path: "/home/u/x", To: "/home/u/.ssh/rc"}, true},
		"a hard link from it":     {files.Operation{Action: files.HardLink, Path: "/home/u/.ssh/rc", To: "/home/u/x"}, true},
		"mode of what is above":   {files.Operation{Action: files.SetAttributes, Path: "/etc"}, false},
		"anything else":           {files.Operation{Action: files.Rename, Path: "/home/u/x", To: "/home/u/y"}, false},
	} {
		if got := tc.op.Facts().LetsIn(); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

package files_test

import (
	"testing"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

func TestProtected(t *testing.T) {
	for path, want := range map[string]bool{
		"/home/u/.ssh":                     true,
		"/home/u/.ssh/rc":                  true,
		"/home/u/.ssh/":                    true,
		".ssh/environment":                 true,
		"x/.ssh/y":                         true,
		"/HOME/u/.SSH/config":              true,
		"/home/u/.\u017fsh/config":         true, // a long s
		"/home/u/.s\u200csh/config":        true, // a character that HFS+ ignores
		`/C:/Users/u/.ssh\authorized_keys`: true,
		"/C:/Users/u/.ssh./x":              true,
		"/srv/keys/authorized_keys":        true,
		"/srv/keys/authorized_keys2":       true,
		"/srv/keys/authorized_keys.d/u":    true,
		"/srv/Authorized_Keys /":           true,
		"/etc/ssh":                         true,
		"/etc/ssh/sshd_config":             true,
		"//etc/./ssh/sshd_config":          true,
		"/proc/self/mem":                   true,
		"/home/u/x.ssh/y":                  false,
		"/home/u/.sshrc":                   false,
		"/home/u/ssh/config":               false,
		"/home/u/my_authorized_keys":       false,
		"/etc/sshx":                        false,
		"/etc":                             false,
		"etc/ssh/sshd_config":              false,
		"/home/u/etc/ssh":                  false,
		"/\xff":                            false,
		"":                                 false,
	} {
		if got := files.Protected(path); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
}

func TestDenied(t *testing.T) {
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
		if got := files.Denied(&tc.op); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

package sshapi

import (
	"testing"
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
		if got := Protected(path); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
}

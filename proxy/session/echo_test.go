package session

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// Keys are written > and output <, in turn.
func TestEcho(t *testing.T) {
	for name, tc := range map[string]struct {
		passes []string
		want   string
	}{
		"typed":                       {[]string{">l", "<l", ">s", "<s", ">\r", "<\r\na b\r\n"}, "ls\r"},
		"pasted":                      {[]string{">ls -l\r", "<ls -l\r\nfiles"}, "ls -l\r"},
		"a password":                  {[]string{">secret\r", "<\r\nSorry, try again.\r\n"}, "\r"},
		"a password by letters":       {[]string{">s", ">e", ">c", ">\r", "<\r\nsec"}, "\r"},
		"the same behind":             {[]string{">deploy\r", "<\r\ndeploy@host$ "}, "\r"},
		"stars":                       {[]string{">a", "<*", ">b", "<*", ">\r", "<\r\n"}, "\r"},
		"its beginning is shown":      {[]string{">secret\r", "<sec\r\n"}, "\r"},
		"a command, then a password":  {[]string{">su\r", "<su\r\nPassword: ", ">pw\r", "<\r\n# ", ">id\r", "<id\r\n"}, "su\r\rid\r"},
		"ahead of output":             {[]string{">one\r", ">two\r", "<one\r\n", "<$ two\r\n"}, "one\r\r"},
		"ahead, at once shown":        {[]string{">one\r", ">two\r", "<onetwo"}, "one\rtwo\r"},
		"colours":                     {[]string{">ls\r", "<\x1b[32ml\x1b[0ms\x1b]0;title\x07\r\n"}, "ls\r"},
		"output while typing":         {[]string{">ls", "<ls", "<[1]+ Done", "> -l\r", "< -l\r\n"}, "ls -l\r"},
		"arrows and control":          {[]string{">\x1b[A", ">\x03", ">\x1bOP", "<anything"}, "\x1b[A\x03\x1bOP"},
		"completion":                  {[]string{">ls /va", "<ls /va", ">\t", "<r/", ">lo", "<lo", ">\r"}, "ls /va\tlo\r"},
		"editing":                     {[]string{">lx", "<lx", ">\x7f", "<\b \b", ">s\r", "<s\r\n"}, "lx\x7fs\r"},
		"nothing is shown":            {[]string{">x", ">y"}, ""},
		"a part is shown":             {[]string{">xy", "<x"}, ""},
		"no letters behind an escape": {[]string{">\x1bsecret\r", "<\r\n"}, "\x1b\r"},
		"too much":                    {[]string{">" + strings.Repeat("x", 2*maxTyped), "<" + strings.Repeat("x", 2*maxTyped), ">\r", ">ls\r", "<ls"}, "\rls\r"},
		"too many":                    {[]string{">" + strings.Repeat("x\r", 2*maxPieces)}, strings.Repeat("\r", 2*maxPieces)},
	} {
		t.Run(name, func(t *testing.T) {
			for way, read := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "in bytes": iotest.OneByteReader} {
				e, got := &echo{}, []byte(nil)
				for _, pass := range tc.passes {
					take := e.typed
					if pass[0] == '<' {
						take = e.shown
					}
					from, part := read(strings.NewReader(pass[1:])), make([]byte, 1<<20)
					for n, err := from.Read(part); err == nil; n, err = from.Read(part) {
						got = take(got, part[:n])
					}
				}
				if got = e.rest(got); string(got) != tc.want {
					t.Errorf("%s: %q, want %q", way, got, tc.want)
				}
				if e.size != 0 || len(e.pieces) != 0 {
					t.Errorf("%s: %d bytes are left", way, e.size)
				}
			}
		})
	}
}

// G8: whatever is typed and shown, text is told only if it was shown too.
func FuzzEcho(f *testing.F) {
	f.Add([]byte("ls\r"), []byte("ls\r\n"))
	f.Add([]byte("\x1b[Asecret\r"), []byte("\x1b]0;x\x1b\\\r\n"))
	f.Fuzz(func(t *testing.T, keys, output []byte) {
		e, got := &echo{}, []byte(nil)
		for i := range max(len(keys), len(output)) {
			if i < len(keys) {
				got = e.typed(got, keys[i:i+1])
			}
			if i < len(output) {
				got = e.shown(got, output[i:i+1])
			}
			if e.size < 0 || e.size > maxTyped+1 || len(e.pieces) > maxPieces+1 {
				t.Fatalf("%d bytes in %d pieces", e.size, len(e.pieces))
			}
		}
		got = e.rest(got)
		if bytes.IndexByte(keys, 0x1b) >= 0 {
			return // what belongs to a sequence is no text
		}
		for _, b := range got {
			if b >= ' ' && b != 0x7f && bytes.IndexByte(output, b) < 0 {
				t.Fatalf("%q of %q is told, and %q was shown", got, keys, output)
			}
		}
	})
}

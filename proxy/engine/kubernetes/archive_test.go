package kubernetes

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/shell"
)

func TestArchived(t *testing.T) {
	for line, want := range map[string]string{
		"tar cf - /etc/hosts":                streamStdout,
		"tar -cf - /etc/hosts":               streamStdout,
		"/bin/tar cf - /etc":                 streamStdout,
		"tar -xmf - -C /tmp":                 streamStdin,
		"tar --no-same-owner -xmf - -C /tmp": streamStdin,
		"tar -C / -cf - etc":                 streamStdout,
		"env tar cf - x":                     streamStdout,
		"sh -c 'tar cf - x'":                 streamStdout,
		"tar czf - x":                        "",
		"tar cf x.tar y":                     "",
		"tar cf - x | gzip":                  "",
		"tar cf - x > y":                     "",
		"tar tf -":                           "",
		"tar":                                "",
		"tar cf":                             "",
		"cat x":                              "",
		"tar cf $x y":                        "",
		"echo cf - x; tar cf - x":            "",
		"tar cf - --to-command='sh -c x' -C /tmp/cf -": streamStdout,
	} {
		if got := archived(shell.Line(line, shell.POSIX)); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if got := archived(nil); got != "" {
		t.Error(got)
	}
}

func archiveOf(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := strings.Repeat("x", int(h.Size))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEntries(t *testing.T) {
	file := func(name string, size int64) *tar.Header {
		return &tar.Header{Name: name, Size: size, Typeflag: tar.TypeReg, Mode: 0o600}
	}
	digest := func(size int) string {
		sum := sha256.Sum256([]byte(strings.Repeat("x", size)))
		return hex.EncodeToString(sum[:])
	}
	long, endless := strings.Repeat("d/", 100)+"f", strings.Repeat("long/", 1800)
	endless = endless[:8999] + "f"
	whole := archiveOf(t, file("a", 3), file("b", 5000))
	// A sparse file of PAX 0.1 that would expand to a tebibyte.
	sparse := archiveOf(t, &tar.Header{Name: "hole", Size: 1, Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{"CARDEA.x": "GNU.sparse"}})
	sparse = bytes.Replace(sparse, []byte("23 CARDEA.x=GNU.sparse\n"), []byte("23 GNU.sparse.size=999\n"), 1)
	for name, tc := range map[string]struct {
		archive []byte
		want    []string
	}{
		"a file":             {archiveOf(t, file("etc/hosts", 10)), []string{`file "etc/hosts", 10 bytes, SHA-256 ` + digest(10)}},
		"an empty one":       {archiveOf(t, file("e", 0)), []string{`file "e", 0 bytes, SHA-256 ` + digest(0)}},
		"a long name":        {archiveOf(t, file(long, 1)), []string{fmt.Sprintf("file %q, 1 bytes, SHA-256 %s", long, digest(1))}},
		"a name that draws":  {archiveOf(t, file("a\x1b[2Jb\n", 1)), []string{`file "a\x1b[2Jb\n", 1 bytes, SHA-256 ` + digest(1)}},
		"folders and links":  {archiveOf(t, &tar.Header{Name: "d/", Typeflag: tar.TypeDir}, &tar.Header{Name: "l", Linkname: "/etc/shadow", Typeflag: tar.TypeSymlink}), []string{`folder "d/"`, `link "l" to "/etc/shadow"`}},
		"a device":           {archiveOf(t, &tar.Header{Name: "n", Typeflag: tar.TypeChar}), []string{`entry "n" of type "3"`}},
		"a file that is cut": {whole[:512+512+512+700], []string{`file "a", 3 bytes, SHA-256 ` + digest(3), `file "b", cut after 700 of 5000 bytes`, "the rest of the archive is not understood"}},
		"no archive":         {bytes.Repeat([]byte("no archive "), 100), []string{"the rest of the archive is not understood"}},
		"a second archive":   {append(bytes.Clone(whole), archiveOf(t, file("c", 1))...), []string{`file "a", 3 bytes, SHA-256 ` + digest(3), `file "b", 5000 bytes, SHA-256 ` + digest(5000), "more stands behind the end of the archive"}},
		"a byte behind":      {append(bytes.Clone(whole), append(make([]byte, 5000), "more"...)...), []string{`file "a", 3 bytes, SHA-256 ` + digest(3), `file "b", 5000 bytes, SHA-256 ` + digest(5000), "more stands behind the end of the archive"}},
		"zeros behind":       {append(bytes.Clone(whole), make([]byte, 20*512)...), []string{`file "a", 3 bytes, SHA-256 ` + digest(3), `file "b", 5000 bytes, SHA-256 ` + digest(5000)}},
		"an unknown type":    {archiveOf(t, &tar.Header{Name: "u", Size: 700, Typeflag: 'Q'}), []string{`file "u" of type "Q", 700 bytes, SHA-256 ` + digest(700)}},
		"a contiguous file":  {archiveOf(t, &tar.Header{Name: "c", Size: 3, Typeflag: tar.TypeCont}), []string{`file "c" of type "7", 3 bytes, SHA-256 ` + digest(3)}},
		"an endless name":    {archiveOf(t, file(endless, 1)), []string{fmt.Sprintf("file %q (cut, 9000 bytes), 1 bytes, SHA-256 %s", endless[:4096], digest(1))}},
		"an endless link":    {archiveOf(t, &tar.Header{Name: "l", Linkname: endless, Typeflag: tar.TypeSymlink}), []string{fmt.Sprintf(`link "l" to %q (cut, 9000 bytes)`, endless[:4096])}},
		"nothing":            {nil, nil},
		"a sparse file":      {sparse, []string{`sparse file "hole", 1 bytes`}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			if err := entries(iotest.OneByteReader(bytes.NewReader(tc.archive)), new(atomic.Int64), func(text string, _ int64) error {
				got = append(got, text)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	failed := errors.New("the recorder failed")
	if err := entries(bytes.NewReader(whole), new(atomic.Int64), func(string, int64) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
}

// FuzzEntries: no archive makes it fail, or take memory or time beyond its size.
func FuzzEntries(f *testing.F) {
	f.Add([]byte("no archive"))
	f.Add(make([]byte, 2048))
	f.Add(archiveOf(f, &tar.Header{Name: "a", Size: 3, Typeflag: 'Q'}, &tar.Header{Name: "d/", Typeflag: tar.TypeDir}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		var total int64
		if err := entries(bytes.NewReader(archive), new(atomic.Int64), func(text string, size int64) error {
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) || len(text) > 2*len(`\U0010ffff`)*maxName {
				t.Fatalf("%q", text)
			}
			if strings.HasPrefix(text, "file ") {
				total += size
			}
			return nil
		}); err != nil || total > int64(len(archive)) {
			t.Fatalf("%v, %d bytes of files in %d", err, total, len(archive))
		}
	})
}

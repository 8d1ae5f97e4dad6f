package kubernetes

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/shell"
)

// archived returns which stream of a command is a tar archive, as kubectl cp has it: stdout
// where files leave the pod, stdin where they enter; empty for any other command.
func archived(f *shell.Facts) string {
	if f == nil || !f.Known {
		return ""
	}
	starts := slices.DeleteFunc(slices.Clone(f.Commands), func(c shell.Command) bool { return c.Transparent })
	if len(starts) != 1 || len(starts[0].Files) > 0 || path.Base(starts[0].Words[0].Text) != "tar" {
		return ""
	}
	words := starts[0].Words[1:]
	for i, w := range words {
		if !w.Literal || strings.HasPrefix(w.Text, "--") {
			continue
		}
		// The first word may be without a hyphen: tar cf - PATH.
		if i > 0 && !strings.HasPrefix(w.Text, "-") || !strings.HasSuffix(w.Text, "f") || i+1 == len(words) || !words[i+1].Literal || words[i+1].Text != "-" {
			continue
		}
		switch flags := w.Text; {
		case strings.ContainsAny(flags, "zjJZaM"):
			return "" // compressed, or in volumes
		case strings.Contains(flags, "c"):
			return streamStdout
		case strings.Contains(flags, "x"):
			return streamStdin
		}
	}
	return ""
}

// filesOnly are the options with which tar makes files of what it unpacks and does nothing else:
// --to-command, -I and their like run programs.
var filesOnly = regexp.MustCompile(`^(-?[xvmpofk]+|--no-same-permissions|--no-same-owner|--no-overwrite-dir|--touch|--)$`)

// unpacks reports whether a command with an archive on stdin, in the form that kubectl cp has it,
// makes files of what it holds and nothing else.
func unpacks(f *shell.Facts) bool {
	if len(f.Commands) != 1 || !slices.Contains([]string{"tar", "/bin/tar", "/usr/bin/tar"}, f.Commands[0].Words[0].Text) {
		return false // env may set TAR_OPTIONS
	}
	words := f.Commands[0].Words[1:]
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case !w.Literal:
			return false
		case w.Text == "-C" || w.Text == "--directory":
			i++ // what it is followed by is a folder
			if i == len(words) || !words[i].Literal {
				return false
			}
		case w.Text == "-" || filesOnly.MatchString(w.Text):
		default:
			return false
		}
	}
	return true
}

// listing records what a tar archive holds, as the archive passes. The bytes themselves are
// passed on, and recorded, as those of any stream; but for what is within large files that enter a
// container.
type listing struct {
	stream string
	plain  bool         // what the archive holds becomes files, and nothing else
	file   atomic.Int64 // the large file within which the archive is, counted from 1; 0 outside of any
	to     *io.PipeWriter
	done   chan struct{}
}

// list begins to read an archive. What it records belongs to a command.
func list(stream string, plain bool, s *session.Session, permit session.Permit) *listing {
	from, to := io.Pipe()
	l := &listing{stream: stream, plain: plain, to: to, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		err := entries(from, &l.file, func(text string, size int64) error {
			return s.Respond(permit, &recording.Response{Tag: text, ByteCount: size})
		})
		// What cannot be recorded does not pass.
		_ = from.CloseWithError(err)
	}()
	return l
}

// of reports whether a stream is the archive.
func (l *listing) of(stream string) bool { return l != nil && l.stream == stream }

// write is told what passes of the archive. Only a nil error lets it pass.
func (l *listing) write(p []byte) error {
	if _, err := l.to.Write(p); err != nil {
		return fmt.Errorf("list the archive: %w", err)
	}
	return nil
}

// inside is told what passes, and tells whether all of it is within one large file, of which the
// digest will be recorded. Names, small files, and whatever is not understood are not.
func (l *listing) inside(p []byte) (bool, error) {
	before := l.file.Load()
	if err := l.write(p); err != nil {
		return false, err
	}
	// A write of nothing returns when the reader asks for more: it has understood what came before.
	if err := l.write(nil); err != nil {
		return false, err
	}
	return l.plain && before != 0 && l.file.Load() == before, nil
}

// end waits until all that passed is recorded.
func (l *listing) end() {
	if l == nil {
		return
	}
	_ = l.to.Close()
	<-l.done
}

// largeFile is the size in bytes beyond which the beginning of a file is recorded too, and what is
// within need not be.
const largeFile = 1 << 20

// entries reads an archive to its end and beyond, and has each entry recorded; within is the large
// file in which it is. It returns only errors of recording.
func entries(from io.Reader, within *atomic.Int64, record func(text string, size int64) error) error {
	archive, global := tar.NewReader(from), false
	for n := int64(1); ; n++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return behind(from, record)
		}
		if err != nil {
			if err := record("the rest of the archive is not understood", 0); err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, from) // it ends by being closed
			return nil
		}
		global = global || h.Typeflag == tar.TypeXGlobalHeader
		if !global && h.Size > largeFile && certain(h) {
			if err := record(fmt.Sprintf("file %s of %d bytes begins", named(h.Name), h.Size), 0); err != nil {
				return err
			}
			within.Store(n)
		}
		text, size := entry(h, archive)
		within.Store(0)
		if err := record(text, size); err != nil {
			return err
		}
	}
}

// behind reads what follows the end of an archive. Zeros fill its last record; with anything
// else tar may go on, if it is told to.
func behind(from io.Reader, record func(text string, size int64) error) error {
	r := &remainder{record: record}
	_, _ = io.Copy(r, from) // it ends by being closed
	return r.err
}

// remainder is what stands behind the end of an archive.
type remainder struct {
	record func(text string, size int64) error
	said   bool
	err    error // of record
}

// Write implements io.Writer.
func (r *remainder) Write(p []byte) (int, error) {
	if !r.said && len(bytes.Trim(p, "\x00")) > 0 {
		r.said = true
		r.err = r.record("more stands behind the end of the archive", 0)
	}
	if r.err != nil {
		return 0, r.err
	}
	return len(p), nil
}

// maxName is how many bytes of a name are recorded.
const maxName = 4096

// named quotes a name, or the beginning of a long one.
func named(name string) string {
	if len(name) > maxName {
		return fmt.Sprintf("%q (cut, %d bytes)", name[:maxName], len(name))
	}
	return strconv.Quote(name)
}

// certain tells whether every tar takes an entry for a file of the same size: where two fields say
// the size, one reads a file where another reads the names of more.
func certain(h *tar.Header) bool {
	return h.Typeflag == tar.TypeReg && (h.Format == tar.FormatUSTAR || h.Format == tar.FormatPAX) && h.PAXRecords["size"] == "" && !sparse(h)
}

func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// entry says what one entry is, with the digest of a file. A type that is not known is what tar
// makes of it: a file. A sparse file is not expanded.
func entry(h *tar.Header, content io.Reader) (text string, size int64) {
	what := "file " + named(h.Name)
	switch h.Typeflag {
	case tar.TypeDir:
		return "folder " + named(h.Name), 0
	case tar.TypeSymlink, tar.TypeLink:
		return "link " + named(h.Name) + " to " + named(h.Linkname), 0
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo, tar.TypeXGlobalHeader:
		return fmt.Sprintf("entry %s of type %q", named(h.Name), string(h.Typeflag)), 0
	case tar.TypeReg:
	default:
		what += fmt.Sprintf(" of type %q", string(h.Typeflag))
	}
	if sparse(h) {
		return fmt.Sprintf("sparse file %s, %d bytes", named(h.Name), h.Size), h.Size
	}
	sum := sha256.New()
	n, err := io.Copy(sum, content)
	if err != nil {
		return fmt.Sprintf("%s, cut after %d of %d bytes", what, n, h.Size), n
	}
	return fmt.Sprintf("%s, %d bytes, SHA-256 %s", what, n, hex.EncodeToString(sum.Sum(nil))), n
}

package parser

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	pgquery "github.com/pganalyze/pg_query_go/v6"
	cparser "github.com/pganalyze/pg_query_go/v6/parser"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// workerName is argv[0] of a worker.
const workerName = "cardea-sql-parser"

// WorkerMain serves as a parser worker and does not return if this process was started
// as one; else it returns at once.
func WorkerMain() {
	if len(os.Args) != 1 || os.Args[0] != workerName {
		return
	}
	runtime.LockOSThread()
	debug.SetMemoryLimit(64 << 20)
	if err := confine(); err != nil {
		_ = writeAll(appendReply(nil, statusFailed, []byte(err.Error())))
		unix.Exit(1)
	}
	if writeAll(appendReply(nil, statusReady)) != nil {
		unix.Exit(1)
	}
	serve()
	unix.Exit(0)
}

// serve answers until the proxy is gone.
func serve() {
	var header [4]byte
	var text, reply []byte
	for {
		if readAll(header[:]) != nil {
			return
		}
		n := binary.LittleEndian.Uint32(header[:])
		if n > MaxText {
			return
		}
		if cap(text) < int(n) {
			text = make([]byte, n)
		}
		text = text[:n]
		if readAll(text) != nil {
			return
		}
		reply = answer(reply[:0], string(text))
		if writeAll(reply) != nil {
			return
		}
		if cap(reply) > 1<<20 {
			text, reply = nil, nil
		}
	}
}

// answer appends the reply to one text.
func answer(dst []byte, text string) []byte {
	tree, err := cparser.ParseToProtobuf(text)
	if err != nil {
		return syntaxReply(dst, err)
	}
	tokens, err := cparser.ScanToProtobuf(text)
	if err != nil {
		return syntaxReply(dst, err)
	}
	var scan pgquery.ScanResult
	if err := proto.Unmarshal(tokens, &scan); err != nil {
		return syntaxReply(dst, err)
	}
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(tree)))
	var spans []byte
	for _, t := range scan.Tokens {
		if isLiteral(t.Token) {
			spans = binary.LittleEndian.AppendUint32(spans, uint32(t.Start))
			spans = binary.LittleEndian.AppendUint32(spans, uint32(t.End))
		}
	}
	if len(head)+len(tree)+len(spans) > maxReply {
		return syntaxReply(dst, errors.New("too large"))
	}
	return appendReply(dst, statusParsed, head, tree, spans)
}

func syntaxReply(dst []byte, err error) []byte {
	position := 0
	var e *cparser.Error
	if errors.As(err, &e) {
		position = max(e.Cursorpos, 0)
	}
	return appendReply(dst, statusSyntax, binary.LittleEndian.AppendUint32(nil, uint32(position)))
}

// isLiteral reports whether a token may carry a value: a constant or a comment.
func isLiteral(t pgquery.Token) bool {
	switch t {
	case pgquery.Token_SCONST, pgquery.Token_USCONST, pgquery.Token_BCONST, pgquery.Token_XCONST, pgquery.Token_ICONST, pgquery.Token_FCONST,
		pgquery.Token_SQL_COMMENT, pgquery.Token_C_COMMENT:
		return true
	default: // keywords, operators, names and places of parameters
		return false
	}
}

// readAll and writeAll use the two pipes without the runtime's poller, whose system calls
// a worker does not have.
func readAll(p []byte) error {
	for len(p) > 0 {
		n, err := unix.Read(0, p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		default:
			p = p[n:]
		}
	}
	return nil
}

func writeAll(p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(1, p)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		p = p[max(n, 0):]
	}
	return nil
}

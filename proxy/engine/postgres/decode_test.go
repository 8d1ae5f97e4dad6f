package postgres

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/proxy/policy"
)

func encoded(t testing.TB, m pgproto3.FrontendMessage) []byte {
	t.Helper()
	b, err := m.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeBind(t *testing.T) {
	m := encoded(t, &pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s", ParameterFormatCodes: []int16{0, 1, 0},
		Parameters: [][]byte{[]byte("text"), {1, 2}, nil}, ResultFormatCodes: []int16{1}})
	var b bindMessage
	if err := b.decode(m[headSize:]); err != nil {
		t.Fatal(err)
	}
	want := []policy.Parameter{{Text: "text", Type: 25}, {Text: "0102", Binary: true}, {Null: true}}
	if d := cmp.Diff(want, b.parameters([]uint32{25})); d != "" || string(b.portal) != "p" || string(b.statement) != "s" || !format(b.results, 7) {
		t.Error(d)
	}
	for i := range len(m) - headSize {
		if err := new(bindMessage).decode(m[headSize : headSize+i]); err == nil {
			t.Errorf("the first %d bytes pass", i)
		}
	}
	for name, bad := range map[string][]byte{
		"trailing bytes":      append(bytes.Clone(m[headSize:]), 0),
		"an unknown format":   {0, 0, 0, 1, 0, 2, 0, 0, 0, 0},
		"formats for others":  {0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255, 0, 0},
		"a length of -2":      {0, 0, 0, 0, 0, 1, 255, 255, 255, 254, 0, 0},
		"a length of 2 GiB":   {0, 0, 0, 0, 0, 1, 127, 255, 255, 255, 0, 0},
		"65535 values of air": {0, 0, 0, 0, 255, 255, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if err := new(bindMessage).decode(bad); err == nil {
				t.Error("it passes")
			}
		})
	}
}

func TestStartupPacketsInPieces(t *testing.T) {
	in := []byte("\x00\x00\x00\x27\x00\x03\x00\x00user\x00agent\x00database\x00shop\x00\x00more")
	in[3] = byte(len(in) - 4)
	for how, split := range splits {
		t.Run(how, func(t *testing.T) {
			src := split(bytes.NewReader(in))
			code, body, err := readPacket(src)
			if err != nil {
				t.Fatal(err)
			}
			s, err := parseStartup(code, body)
			if err != nil || s.user != "agent" || s.database != "shop" {
				t.Errorf("%+v %v", s, err)
			}
			if rest, _ := io.ReadAll(src); string(rest) != "more" {
				t.Errorf("it read beyond: %q is left", rest)
			}
		})
	}
}

func FuzzStartup(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x17\x00\x03\x00\x00user\x00agent\x00\x00\x00"))
	f.Add(append([]byte("\x00\x00\x01\x9f\x00\x03\x00\x00user\x00a\x00x\x00y\x00options\x00"), strings.Repeat("-ca=b ", maxParameters)+"\x00\x00"...))
	f.Add([]byte("\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02"))
	f.Fuzz(func(t *testing.T, in []byte) {
		code, body, err := readPacket(bytes.NewReader(in))
		again, bodyAgain, errAgain := readPacket(iotest.OneByteReader(bytes.NewReader(in)))
		if (err == nil) != (errAgain == nil) || code != again || !bytes.Equal(body, bodyAgain) {
			t.Fatal("split reads differ")
		}
		if err != nil {
			return
		}
		if _, secret, ok := parseCancel(body); ok && (len(secret) < secretSize30 || len(secret) > maxSecret) {
			t.Error("a secret out of bounds")
		}
		s, err := parseStartup(code, body)
		if err != nil {
			return
		}
		if s.user == "" || len(s.user) > maxName || len(s.database) > maxName || s.minor > 2 || len(s.parameters) > maxParameters {
			t.Errorf("%+v passes", s)
		}
		_ = s.negotiation()
	})
}

func FuzzMessages(f *testing.F) {
	f.Add(encoded(f, &pgproto3.Bind{Parameters: [][]byte{{1}}})[headSize:])
	f.Add(encoded(f, &pgproto3.Parse{Name: "s", Query: "select 1", ParameterOIDs: []uint32{23}})[headSize:])
	f.Add([]byte("\x00\x01c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var b bindMessage
		if b.decode(in) == nil {
			var reference pgproto3.Bind
			if err := reference.Decode(in); err != nil {
				t.Errorf("what pgproto3 refuses passes: %v", err)
			}
			for i, p := range b.parameters(nil) {
				if p.Null != (reference.Parameters[i] == nil) || !p.Binary && !p.Null && p.Text != string(reference.Parameters[i]) {
					t.Error("another value than pgproto3 reads")
				}
			}
		}
		var p parseMessage
		if p.decode(in) == nil {
			var reference pgproto3.Parse
			if reference.Decode(in) != nil || reference.Query != string(p.text) {
				t.Error("another text than pgproto3 reads")
			}
		}
		_ = new(queryMessage).decode(in)
		_ = new(executeMessage).decode(in)
		_ = new(nameMessage).decode(in)
		if columns, err := decodeColumns(in); err == nil && len(columns) > maxColumns {
			t.Error("too many columns")
		}
		_, _ = rowValues(in, func(int, []byte) error { return nil })
		_, _, _ = initialResponse(in)
		_ = errorField(in, 'C')
	})
}

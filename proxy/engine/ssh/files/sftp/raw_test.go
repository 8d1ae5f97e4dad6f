package sftp_test

import (
	"encoding/binary"
	"io"
	"testing"
)

const (
	typeInit     = 1
	typeVersion  = 2
	typeOpen     = 3
	typeClose    = 4
	typeRead     = 5
	typeWrite    = 6
	typeLstat    = 7
	typeFsetstat = 10
	typeOpendir  = 11
	typeReaddir  = 12
	typeRealpath = 16
	typeStat     = 17
	typeRename   = 18
	typeReadlink = 19
	typeStatus   = 101
	typeHandle   = 102
	typeData     = 103
	typeName     = 104
	typeAttrs    = 105
	typeExtended = 200
)

// encoded is a packet of fields: uint32 and uint64 as they are, text with its length, bytes as they are.
func encoded(typ byte, fields ...any) []byte {
	p := []byte{0, 0, 0, 0, typ}
	for _, f := range fields {
		switch f := f.(type) {
		case uint32:
			p = binary.BigEndian.AppendUint32(p, f)
		case uint64:
			p = binary.BigEndian.AppendUint64(p, f)
		case string:
			p = append(binary.BigEndian.AppendUint32(p, uint32(len(f))), f...)
		case []byte:
			p = append(p, f...)
		default:
			panic("a field of no type that packets have")
		}
	}
	binary.BigEndian.PutUint32(p, uint32(len(p)-4))
	return p
}

// fields are those of a packet; reading beyond its end fails the test.
type fields struct {
	t testing.TB
	b []byte
}

func (f *fields) take(n int) []byte {
	f.t.Helper()
	if n > len(f.b) {
		f.t.Fatal("a packet cut short")
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) number() uint32 { return binary.BigEndian.Uint32(f.take(4)) }
func (f *fields) text() string   { return string(f.take(int(f.number()))) }

// peer speaks packets.
type peer struct {
	t  testing.TB
	rw io.ReadWriter
}

// raw begins a session by hand.
func raw(t testing.TB, rw io.ReadWriter) *peer {
	t.Helper()
	p := &peer{t, rw}
	p.send(typeInit, 3)
	if typ, version, _ := p.receive(); typ != typeVersion || version != 3 {
		t.Fatalf("packet type %d, version %d", typ, version)
	}
	return p
}

// send writes a packet of a number and more fields.
func (p *peer) send(typ byte, id uint32, more ...any) {
	p.t.Helper()
	if _, err := p.rw.Write(encoded(typ, append([]any{id}, more...)...)); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads a packet.
func (p *peer) receive() (typ byte, id uint32, rest *fields) {
	p.t.Helper()
	packet, err := read(p.rw)
	if err != nil {
		p.t.Fatal(err)
	}
	rest = &fields{p.t, packet[1:]}
	return packet[0], rest.number(), rest
}

// read reads a packet behind its length.
func read(from io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err := io.ReadFull(from, packet)
	return packet, err
}

// status reads a status.
func (p *peer) status(id uint32) (code uint32, message string) {
	p.t.Helper()
	typ, got, rest := p.receive()
	if typ != typeStatus || got != id {
		p.t.Fatalf("packet type %d of number %d, want a status of %d", typ, got, id)
	}
	return rest.number(), rest.text()
}

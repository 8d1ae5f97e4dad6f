package sftp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// TestNotPassedOn: what the relay answers by itself, and goes on.
func TestNotPassedOn(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, tc := range map[string]struct {
		packet []byte
		want   uint32
	}{
		"an extension that was not offered": {encoded(typeExtended, uint32(7), "statvfs@openssh.com", "/"), 8},
		"an extension unknown to the gate":  {encoded(typeExtended, uint32(7), "copy-data", "h"), 8},
		"a type of later versions":          {encoded(21, uint32(7), "a", "b"), 8},
		"a type of no version":              {encoded(99, uint32(7)), 8},
		"flags of later versions":           {encoded(typeOpen, uint32(7), "f", uint32(0x41), uint32(0)), 8},
		"extended attributes":               {encoded(typeOpen, uint32(7), "f", uint32(1), uint32(0x80000000), uint32(1), "a", "b"), 8},
		"attributes of later versions":      {encoded(9, uint32(7), "f", uint32(0x100)), 8},
		"a NUL":                             {encoded(typeOpen, uint32(7), "f\x00g", uint32(1), uint32(0)), 4},
		"a NUL in the second path":          {encoded(typeRename, uint32(7), "f", "g\x00"), 4},
		"a long path":                       {encoded(typeStat, uint32(7), long), 4},
		"a deep path":                       {encoded(typeStat, uint32(7), strings.Repeat("a/", 200)), 4},
		"no path":                           {encoded(typeStat, uint32(7), ""), 2},
		"a directory that is not there":     {encoded(typeStat, uint32(7), "/n/f"), 2},
		"a link to itself":                  {encoded(typeStat, uint32(7), "/l/self"), 4},
		"a name that is none":               {encoded(14, uint32(7), "d/..", uint32(0)), 4},
		"a handle that is not open":         {encoded(typeRead, uint32(7), "x", uint64(0), uint32(1)), 4},
		"writing what is not open":          {encoded(typeWrite, uint32(7), "x", uint64(0), "data"), 4},
		"closing what is not open":          {encoded(typeClose, uint32(7), "x"), 4},
		"attributes of what is not open":    {encoded(typeFsetstat, uint32(7), "x", uint32(0)), 4},
		"writing what is open for reading":  {encoded(typeWrite, uint32(7), "h", uint64(0), "data"), 3},
		"listing a file":                    {encoded(typeReaddir, uint32(7), "h"), 4},
		"an offset that no file has":        {encoded(typeRead, uint32(7), "h", uint64(1<<63), uint32(1)), 4},
		"a new file that is a link":         {encoded(typeOpen, uint32(7), "/l", uint32(0x2a), uint32(0)), 4},
	} {
		t.Run(name, func(t *testing.T) {
			far, conn := script(t, func(typ byte, id uint32, p []byte) [][]byte {
				if typ == typeReadlink {
					return [][]byte{encoded(typeName, id, uint32(1), "l", "l", uint32(0))}
				}
				return nil
			}, "copy-data", "1", "limits@openssh.com", "1")
			s := start(t, nil, conn, "")
			r := raw(t, s.client)
			r.send(typeOpen, 1, "/f", uint32(1), uint32(0))
			if typ, _, _ := r.receive(); typ != typeHandle {
				t.Fatal(typ)
			}
			if _, err := s.client.Write(tc.packet); err != nil {
				t.Fatal(err)
			}
			if code, message := r.status(7); code != tc.want {
				t.Errorf("code %d: %s", code, message)
			}
			r.send(typeClose, 8, "h")
			if code, _ := r.status(8); code != 0 {
				t.Error(code)
			}
			s.end(t)
			if got := far.types(); got != "\x03\x04" {
				t.Errorf("%q was forwarded", got)
			}
		})
	}
}

// TestClientsThatBreakTheProtocol: the relay ends, and nothing of the packet is forwarded.
func TestClientsThatBreakTheProtocol(t *testing.T) {
	begun := encoded(typeInit, uint32(3))
	for name, packets := range map[string][]byte{
		"no version first":          encoded(typeOpen, uint32(1), "f", uint32(1), uint32(0)),
		"an old version":            encoded(typeInit, uint32(2)),
		"a version cut short":       encoded(typeInit),
		"a version twice":           append(begun, encoded(typeInit, uint32(3))...),
		"an answer":                 append(begun, encoded(typeStatus, uint32(1), uint32(0), "", "")...),
		"no number":                 append(begun, encoded(typeStat)...),
		"a number twice":            append(append(begun, encoded(typeRename, uint32(1), "held", "x")...), encoded(typeRealpath, uint32(1), ".")...),
		"a path cut short":          append(begun, encoded(typeStat, uint32(1), uint32(9), []byte("short"))...),
		"more than a path":          append(begun, encoded(typeStat, uint32(1), "f", "g")...),
		"attributes cut short":      append(begun, encoded(typeOpen, uint32(1), "f", uint32(2), uint32(4))...),
		"attributes without an end": append(begun, encoded(typeOpen, uint32(1), "f", uint32(2), uint32(0x80000000), uint32(1<<31))...),
		"data cut short":            append(begun, encoded(typeWrite, uint32(1), "h", uint64(0), uint32(9), []byte("short"))...),
		"more than data":            append(begun, encoded(typeWrite, uint32(1), "h", uint64(0), "data", "more")...),
		"an extension of no name":   append(begun, encoded(typeExtended, uint32(1))...),
		"an empty packet":           append(begun, 0, 0, 0, 0),
		"a packet too large":        append(begun, 0, 4, 0, 1, typeWrite),
		"a packet cut short":        append(begun, encoded(typeOpen, uint32(1), "f", uint32(2), uint32(0))[:12]...),
	} {
		t.Run(name, func(t *testing.T) {
			far, conn := script(t, nil)
			s := start(t, func(ctx context.Context, op files.Operation) error {
				<-ctx.Done()
				return ctx.Err()
			}, conn, "")
			if _, err := s.client.Write(packets); err != nil {
				t.Fatal(err)
			}
			_ = s.client.CloseWrite()
			err := <-s.ended
			s.ended <- nil
			if err == nil {
				t.Fatal("it went on")
			}
			<-far.done
			if got := far.types(); got != "" {
				t.Errorf("%q was forwarded", got)
			}
		})
	}
}

// TestServersThatBreakTheProtocol: the relay ends, and the client has nothing of it.
func TestServersThatBreakTheProtocol(t *testing.T) {
	for name, tc := range map[string]struct {
		to     byte // the request that is answered so
		answer func(id uint32) [][]byte
	}{
		"an answer to nothing":   {typeRead, func(id uint32) [][]byte { return [][]byte{encoded(typeStatus, id+1, uint32(0), "", "")} }},
		"an answer to no number": {typeRead, func(id uint32) [][]byte { return [][]byte{encoded(typeStatus, uint32(1<<31), uint32(0), "", "")} }},
		"two answers": {typeClose, func(id uint32) [][]byte {
			return [][]byte{append(encoded(typeStatus, id, uint32(0), "", ""), encoded(typeStatus, id, uint32(0), "", "")...)}
		}},
		"success without data":     {typeRead, func(id uint32) [][]byte { return [][]byte{encoded(typeStatus, id, uint32(0), "", "")} }},
		"more data than asked":     {typeRead, func(id uint32) [][]byte { return [][]byte{encoded(typeData, id, "more data")} }},
		"data cut short":           {typeRead, func(id uint32) [][]byte { return [][]byte{encoded(typeData, id, uint32(4), []byte("da"))} }},
		"data for a close":         {typeClose, func(id uint32) [][]byte { return [][]byte{encoded(typeData, id, "data")} }},
		"success without a handle": {typeOpen, func(id uint32) [][]byte { return [][]byte{encoded(typeStatus, id, uint32(0), "", "")} }},
		"attributes for a handle":  {typeOpen, func(id uint32) [][]byte { return [][]byte{encoded(typeAttrs, id, uint32(0))} }},
		"a long handle":            {typeOpen, func(id uint32) [][]byte { return [][]byte{encoded(typeHandle, id, strings.Repeat("h", 257))} }},
		"a request":                {typeOpen, func(id uint32) [][]byte { return [][]byte{encoded(typeOpen, id, "f", uint32(1), uint32(0))} }},
		"names for a path": {typeRealpath, func(id uint32) [][]byte {
			return [][]byte{encoded(typeName, id, uint32(2), "/a", "/a", uint32(0), "/b", "/b", uint32(0))}
		}},
		"names without an end":      {typeRealpath, func(id uint32) [][]byte { return [][]byte{encoded(typeName, id, uint32(1), "/a")} }},
		"attributes cut short":      {typeLstat, func(id uint32) [][]byte { return [][]byte{encoded(typeAttrs, id, uint32(4))} }},
		"a packet too large":        {typeRead, func(id uint32) [][]byte { return [][]byte{{1, 0, 0, 0, typeData}} }},
		"an end instead of answers": {typeRead, func(id uint32) [][]byte { return [][]byte{{0, 0}} }},
	} {
		t.Run(name, func(t *testing.T) {
			var far *scripted
			far, conn := script(t, func(typ byte, id uint32, _ []byte) [][]byte {
				if typ != tc.to {
					return nil
				}
				answer := tc.answer(id)
				if len(answer[0]) < 4 {
					_ = far.conn.CloseWrite()
				}
				return answer
			})
			s := start(t, nil, conn, "")
			r := raw(t, s.client)
			opened := false
			r.send(typeOpen, 1, "/f", uint32(1), uint32(0))
			if p, err := read(s.client); err == nil {
				opened = p[0] == typeHandle
				r.send(typeRead, 2, "h", uint64(0), uint32(4))
				if p, err := read(s.client); err == nil && p[0] == typeData {
					r.send(typeClose, 3, "h")
					_, _ = read(s.client)
				}
			}
			if err := <-s.ended; err == nil {
				t.Error("it went on")
			}
			s.ended <- nil
			if _, err := io.ReadAll(s.client); err != nil && !errors.Is(err, io.EOF) {
				t.Log(err)
			}
			if got := s.notes.of(files.Open); len(got) != 1 || opened && got[0].Transfer == nil {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestServersOfOtherVersions(t *testing.T) {
	for name, answer := range map[string][]byte{
		"an older":                encoded(typeVersion, uint32(2)),
		"a later":                 encoded(typeVersion, uint32(4)),
		"none":                    encoded(typeStatus, uint32(3)),
		"extensions cut short":    encoded(typeVersion, uint32(3), "statvfs@openssh.com"),
		"text of a shell's start": []byte("Welcome to this host\n"),
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pair(t)
			s := start(t, nil, ours, "")
			if _, err := s.client.Write(encoded(typeInit, uint32(3))); err != nil {
				t.Fatal(err)
			}
			if _, err := theirs.Write(answer); err != nil {
				t.Fatal(err)
			}
			_ = theirs.CloseWrite()
			if err := <-s.ended; err == nil {
				t.Error("it went on")
			}
			s.ended <- nil
			if got, _ := io.ReadAll(s.client); len(got) > 0 {
				t.Errorf("the client has %q", got)
			}
		})
	}
}

func TestExtensionsThatPass(t *testing.T) {
	_, conn := script(t, nil, "posix-rename@openssh.com", "1", "copy-data", "1", "statvfs@openssh.com", "3", "fsync@openssh.com", "1", "fsync@openssh.com", "1", "new@example.com", "x")
	s := start(t, nil, conn, "")
	r := &peer{t, s.client}
	r.send(typeInit, 6, "ext", "1")
	typ, version, rest := r.receive()
	got := []string{}
	for len(rest.b) > 0 {
		got = append(got, rest.text())
	}
	if diff := cmp.Diff([]string{"posix-rename@openssh.com", "1", "fsync@openssh.com", "1"}, got); diff != "" || typ != typeVersion || version != 3 {
		t.Error(typ, version, diff)
	}
	s.end(t)
}

func TestLimitsAreLowered(t *testing.T) {
	limits := [4]uint64{1 << 40, 0, 1000, 1 << 20}
	_, conn := script(t, func(typ byte, id uint32, _ []byte) [][]byte {
		if typ != typeExtended {
			return nil
		}
		return [][]byte{encoded(201, id, limits[0], limits[1], limits[2], limits[3])}
	}, "limits@openssh.com", "1")
	s := start(t, nil, conn, "")
	r := raw(t, s.client)
	r.send(typeExtended, 5, "limits@openssh.com")
	_, id, rest := r.receive()
	var got [4]uint64
	for i := range got {
		got[i] = binary.BigEndian.Uint64(rest.take(8))
	}
	if want := [4]uint64{256 << 10, 255 << 10, 1000, 1024}; got != want || id != 5 {
		t.Error(id, got)
	}
	s.end(t)
}

// split is a channel that hands over a byte at a time.
type split struct {
	files.Channel
	r io.Reader
}

func (s split) Read(p []byte) (int, error) { return s.r.Read(p) }

func TestPacketsThatComeInPieces(t *testing.T) {
	_, conn := script(t, nil)
	s := start(t, nil, split{conn, iotest.OneByteReader(conn)}, "")
	r := raw(t, s.client)
	all := append(encoded(typeOpen, uint32(1), "/f", uint32(3), uint32(0)), encoded(typeLstat, uint32(2), "/f")...)
	for i := range all {
		if _, err := s.client.Write(all[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if typ, id, _ := r.receive(); typ != typeHandle || id != 1 {
		t.Error(typ, id)
	}
	if typ, id, _ := r.receive(); typ != typeAttrs || id != 2 {
		t.Error(typ, id)
	}
	// Several at once, of which one is as large as they may be.
	large := strings.Repeat("x", 256<<10-4-5-5-8-3)
	all = append(encoded(typeWrite, uint32(3), "h", uint64(0), large), encoded(typeRead, uint32(4), "h", uint64(0), uint32(1<<30))...)
	all = append(all, encoded(typeClose, uint32(5), "h")...)
	if _, err := s.client.Write(all); err != nil {
		t.Fatal(err)
	}
	for want := uint32(3); want <= 5; want++ {
		if _, id, _ := r.receive(); id != want {
			t.Error(id)
		}
	}
	s.end(t)
}

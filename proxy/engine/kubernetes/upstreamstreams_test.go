package kubernetes

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

// slowly is a connection that gives one byte at a time.
type slowly struct{ net.Conn }

// Read implements io.Reader.
func (s slowly) Read(p []byte) (int, error) { return iotest.OneByteReader(s.Conn).Read(p) }

// The streams of a command are those that the library at the other end, which is the kubelet's,
// opens, writes, closes and resets.
func TestUpstreamStreams(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 20<<10)
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"whole":        func(c net.Conn) net.Conn { return c },
		"byte by byte": func(c net.Conn) net.Conn { return slowly{c} },
	} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			opened := make(chan httpstream.Stream, 5)
			server, err := spdy.NewServerConnection(there, func(s httpstream.Stream, _ <-chan struct{}) error { opened <- s; return nil })
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = server.Close() }()
			s, err := openUpstream(wrap(here), &kubeapi.Stream{Stdin: true, Stdout: true, Stderr: true, TTY: true})
			if err != nil {
				t.Fatal(err)
			}
			go s.keepAlive()
			got := map[string]string{}
			ended := make(chan error, 1)
			go func() {
				ended <- s.read(func(stream string, part []byte) error {
					if len(part) == 0 || len(part) > readSize {
						t.Errorf("a part of %d bytes", len(part))
					}
					got[stream] += string(part)
					return nil
				})
				_ = here.Close()
			}()
			streams := map[string]httpstream.Stream{}
			for range 5 {
				o := <-opened
				streams[o.Headers().Get(corev1.StreamType)] = o
			}
			typed := make(chan string)
			go func() { b, _ := io.ReadAll(streams[streamStdin]); typed <- string(b) }()
			for _, err := range []error{s.write(streamStdin, []byte("typed"), false), s.write(streamStdin, []byte(large), false), s.write(streamStdin, nil, true)} {
				if err != nil {
					t.Error(err)
				}
			}
			if in := <-typed; in != "typed"+large {
				t.Errorf("%d bytes of stdin came", len(in))
			}
			if err := s.write(streamStdin, []byte("more"), false); !errors.Is(err, errEnded) {
				t.Errorf("behind its end stdin takes more: %v", err)
			}
			if err := s.write(streamResize, []byte("size"), false); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(streams[streamResize], make([]byte, 4)); err != nil {
				t.Error(err)
			}
			for stream, text := range map[string]string{streamStdout: large, streamStderr: "failed", streamError: "status", streamStdin: "nobody's"} {
				if _, err := io.WriteString(streams[stream], text); err != nil {
					t.Error(err)
				}
			}
			_ = streams[streamStdout].Close()
			_ = streams[streamStderr].Reset()
			_ = streams[streamError].Close()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(map[string]string{streamStdout: large, streamStderr: "failed", streamError: "status"}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A command that reads no more is told nothing more; one whose streams are not accepted is over.
func TestUpstreamStreamsReset(t *testing.T) {
	here, there := net.Pipe()
	server, err := spdy.NewServerConnection(there, func(s httpstream.Stream, _ <-chan struct{}) error {
		if s.Headers().Get(corev1.StreamType) == streamStdin {
			return errNoStreams
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	s, err := openUpstream(here, &kubeapi.Stream{Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.read(func(string, []byte) error { return nil }); !errors.Is(err, errNoStreams) {
		t.Error(err)
	}
	_ = here.Close()
	if err := s.write(streamStdin, []byte("x"), false); !errors.Is(err, errEnded) {
		t.Error(err)
	}
}

// control is a control frame.
func control(kind byte, payload ...byte) []byte {
	return append([]byte{0x80, frameVersion, 0, kind, 0, 0, 0, byte(len(payload))}, payload...)
}

// dataFrame is a data frame.
func dataFrame(stream uint32, flags byte, payload string) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, stream), flags, 0, 0, byte(len(payload))), payload...)
}

func TestUpstreamFrames(t *testing.T) {
	accepted := append(control(frameReply, 0, 0, 0, 1), control(frameReply, 0, 0, 0, 3)...)
	failed := errors.New("the recorder failed")
	for name, tc := range map[string]struct {
		frames []byte
		fail   error
		want   string
		err    error
	}{
		"one stream, then the other":   {append(accepted, append(dataFrame(3, 0, "out"), append(dataFrame(3, 1, "put"), dataFrame(1, 1, "")...)...)...), nil, "output", nil},
		"nothing":                      {nil, nil, "", io.EOF},
		"an end inside of a frame":     {append(accepted, dataFrame(3, 0, "output")[:10]...), nil, "", io.ErrUnexpectedEOF},
		"data of no stream":            {append(dataFrame(7, 0, "x"), dataFrame(0, 0, "y")...), nil, "", io.EOF},
		"a stream that was ended":      {append(accepted, append(dataFrame(3, 1, "a"), dataFrame(3, 0, "b")...)...), nil, "a", io.EOF},
		"another version":              {[]byte{0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1}, nil, "", errFrames},
		"a control frame of nothing":   {control(frameReset), nil, "", errFrames},
		"a control frame that is long": {[]byte{0x80, 3, 0, 4, 0, 0xff, 0xff, 0xff, 0, 0, 0, 1}, nil, "", errFrames},
		"going away":                   {append(accepted, append(control(frameGoAway, 0, 0, 0, 0, 0, 0, 0, 0), dataFrame(3, 0, "x")...)...), nil, "", io.EOF},
		"a reset before the reply":     {control(frameReset, 0, 0, 0, 3, 0, 0, 0, 5), nil, "", errNoStreams},
		"a recording that fails":       {append(accepted, dataFrame(3, 0, "x")...), failed, "x", failed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readFrames(t, iotest.OneByteReader(bytes.NewReader(tc.frames)), tc.fail)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// readFrames reads what an API server sends to a command that prints.
func readFrames(t *testing.T, from io.Reader, fail error) (string, error) {
	t.Helper()
	here, there := net.Pipe()
	defer func() { _ = there.Close() }()
	go func() { _, _ = io.Copy(io.Discard, there) }()
	s, err := openUpstream(&resumed{here, from}, &kubeapi.Stream{Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	err = s.read(func(stream string, part []byte) error {
		got.Write(part)
		return fail
	})
	_ = here.Close()
	return got.String(), err
}

// FuzzUpstreamFrames: no API server makes it fail, or take memory beyond a part.
func FuzzUpstreamFrames(f *testing.F) {
	f.Add(append(control(frameReply, 0, 0, 0, 1), dataFrame(1, 1, "said")...))
	f.Add(control(framePing, 0, 0, 0, 2))
	f.Fuzz(func(t *testing.T, frames []byte) {
		whole, err := readFrames(t, bytes.NewReader(frames), nil)
		cut, cutErr := readFrames(t, iotest.OneByteReader(bytes.NewReader(frames)), nil)
		if whole != cut || (err == nil) != (cutErr == nil) || len(whole) > len(frames) {
			t.Fatalf("%q, %v; byte by byte %q, %v", whole, err, cut, cutErr)
		}
	})
}

package postgres

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// splits are the ways in which bytes may arrive.
var splits = map[string]func(io.Reader) io.Reader{
	"whole": func(r io.Reader) io.Reader { return r },
	"bytes": iotest.OneByteReader,
	"half":  iotest.HalfReader,
	"eof":   iotest.DataErrReader,
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", 3*frameBuffer)
	var in []byte
	for _, body := range []string{"", "a", long, "b", strings.Repeat("y", frameBuffer-headSize), "c"} {
		in = appendMessage(in, 'M', []byte(body))
	}
	for how, split := range splits {
		t.Run(how, func(t *testing.T) {
			f := newFrames(split(bytes.NewReader(in)))
			var got []byte
			for i := 0; ; i++ {
				kind, size, err := f.head()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil || kind != 'M' {
					t.Fatal(kind, err)
				}
				switch i {
				case 2:
					err = f.stream(size, func(p []byte) error { got = append(got, p...); return nil })
				default:
					var m []byte
					m, err = f.whole(size)
					got = append(got, m...)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, in) {
				t.Errorf("%d bytes of %d came through", len(got), len(in))
			}
		})
	}
}

func TestFramesRefuse(t *testing.T) {
	for name, test := range map[string]struct {
		in   []byte
		want error
	}{
		"nothing":              {nil, io.EOF},
		"half a head":          {[]byte{'M', 0, 0}, io.ErrUnexpectedEOF},
		"half a message":       {[]byte{'M', 0, 0, 0, 9, 'x'}, io.ErrUnexpectedEOF},
		"a length below four":  {[]byte{'M', 0, 0, 0, 3}, errFrame},
		"a negative length":    {[]byte{'M', 255, 255, 255, 255}, errFrame},
		"a length over 1 GiB":  {[]byte{'M', 64, 0, 0, 4}, errFrame},
		"no progress":          {nil, io.ErrNoProgress},
		"an error of the wire": {nil, io.ErrClosedPipe},
	} {
		t.Run(name, func(t *testing.T) {
			var src io.Reader = bytes.NewReader(test.in)
			switch name {
			case "no progress":
				src = stuck{}
			case "an error of the wire":
				src = iotest.ErrReader(io.ErrClosedPipe)
			}
			f := newFrames(src)
			_, size, err := f.head()
			if err == nil {
				_, err = f.whole(size)
			}
			if !errors.Is(err, test.want) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestFramesGiveBackMemory(t *testing.T) {
	in := appendMessage(nil, 'M', make([]byte, 1<<20))
	in = appendMessage(in, 'M', nil)
	f := newFrames(iotest.OneByteReader(bytes.NewReader(in)))
	for range 2 {
		_, size, err := f.head()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.whole(size); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.buf) != frameBuffer {
		t.Errorf("the buffer has %d bytes", len(f.buf))
	}
}

func TestOutputRecordsFirst(t *testing.T) {
	var order []string
	o := newOutput(writer(func(b []byte) (int, error) { order = append(order, "write"); return len(b), nil }))
	o.commit = func() error { order = append(order, "record"); return nil }
	if err := o.write(make([]byte, 2*frameBuffer+1)); err != nil {
		t.Fatal(err)
	}
	if err := o.flush(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, " "); got != "record write record write record write" {
		t.Errorf("order: %s", got)
	}
	broken := errors.New("disk full")
	o.commit = func() error { return broken }
	_ = o.write([]byte("x"))
	before := len(order)
	if err := o.flush(); !errors.Is(err, broken) || len(order) != before {
		t.Errorf("err = %v, order %v", err, order)
	}
	o.commit = nil
	if err := o.flush(); !errors.Is(err, broken) || len(order) != before {
		t.Errorf("it goes on after a failure: %v", err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func FuzzFrames(f *testing.F) {
	f.Add([]byte("Q\x00\x00\x00\x05\x00"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, how uint8) {
		src := io.Reader(bytes.NewReader(in))
		if how%2 == 1 {
			src = iotest.OneByteReader(src)
		}
		fr := newFrames(src)
		var got []byte
		for {
			_, size, err := fr.head()
			if err != nil {
				break
			}
			if size <= 1000 {
				m, err := fr.whole(size)
				if err != nil {
					break
				}
				got = append(got, m...)
			} else if fr.stream(size, func(p []byte) error { got = append(got, p...); return nil }) != nil {
				break
			}
		}
		if !bytes.HasPrefix(in, got) {
			t.Error("what comes out is not what went in")
		}
		if len(fr.buf) > frameBuffer+2000 {
			t.Errorf("the buffer has %d bytes", len(fr.buf))
		}
	})
}

package session

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking/detect"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// playing returns a tape of a permitted command, whose store keeps so many bytes of output.
func playing(t *testing.T, keep int32, detectors ...v1alpha1.Detector) (*bench, *Tape) {
	t.Helper()
	b := newBench(allow, approved)
	a := *b.Admission()
	a.Store = &v1alpha1.RecordingStore{Spec: v1alpha1.RecordingStoreSpec{Responses: v1alpha1.ResponseBounds{MaxBytes: &keep}}}
	if len(detectors) > 0 {
		set, err := detect.New(detectors)
		if err != nil {
			t.Fatal(err)
		}
		a.Detectors = set
	}
	b.Update(&a)
	permit, err := b.Authorize(t.Context(), known("x"), Verdict{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b, b.Tape(permit)
}

// recorded returns what a tape holds of the streams, and the last event.
func recorded(b *bench) (streams map[string]string, last *recording.Response) {
	streams = map[string]string{}
	for _, e := range b.tape.events {
		switch {
		case e.Input != nil:
			streams[e.Input.Stream] += string(e.Input.Data)
		case e.Output != nil:
			streams[e.Output.Stream] += string(e.Output.Data)
		case e.Response != nil:
			last = e.Response
		}
	}
	return streams, last
}

// G3, G6: what passes is masked and recorded, in this order, wherever it is cut.
func TestTapeMasksAndRecords(t *testing.T) {
	b, tape := playing(t, 1<<10, v1alpha1.DetectCreditCard)
	var shown bytes.Buffer
	out := tape.Output(StreamStdout, &shown, 0, false)
	for _, part := range []string{"card 4111", "11111111", "1111.\nmore\n"} {
		if err := tape.Input(StreamStdin, []byte(part)); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(out.Close(), tape.InputEnded(), tape.End(&recording.Response{Tag: "exit 0"})); err != nil {
		t.Fatal(err)
	}
	const want = "card [card].\nmore\n"
	if shown.String() != want {
		t.Errorf("the client is shown %q", shown.String())
	}
	streams, last := recorded(b)
	if diff := cmp.Diff(map[string]string{StreamStdin: want, StreamStdout: want}, streams); diff != "" {
		t.Error(diff)
	}
	if last.ByteCount != int64(len(want)) || last.Detected != 1 || !last.Final || last.Truncated {
		t.Errorf("the end is %+v", last)
	}
}

func TestTapeKeepsItsBounds(t *testing.T) {
	b, tape := playing(t, 4)
	var shown bytes.Buffer
	out := tape.Output(StreamStdout, &shown, 0, false)
	for _, part := range []string{"abc", "def", "ghi"} {
		if _, err := out.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tape.End(&recording.Response{}); err != nil {
		t.Fatal(err)
	}
	streams, last := recorded(b)
	if shown.String() != "abcdefghi" || streams[StreamStdout] != "abcd" || last.ByteCount != 9 || !last.Truncated {
		t.Errorf("shown %q, kept %q, end %+v", shown.String(), streams[StreamStdout], last)
	}
}

// A counted tape holds no content.
func TestTapeCounts(t *testing.T) {
	b, _ := playing(t, 1<<10)
	permit, err := b.Authorize(t.Context(), known("y"), Verdict{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	tape := b.Counted(permit)
	var shown bytes.Buffer
	out := tape.Output(StreamStdout, &shown, 0, true)
	_, werr := out.Write([]byte("secret"))
	if err := errors.Join(werr, tape.Input(StreamStdin, []byte("secret")), tape.InputEnded(), tape.End(&recording.Response{})); err != nil {
		t.Fatal(err)
	}
	streams, last := recorded(b)
	if shown.String() != "secret" || strings.Contains(streams[StreamStdout]+streams[StreamStdin], "secret") || last.ByteCount != 6 {
		t.Errorf("shown %q, kept %v, end %+v", shown.String(), streams, last)
	}
}

// G6: nothing passes that is not recorded, nor after the end.
func TestTapeFailsClosed(t *testing.T) {
	b, tape := playing(t, 1<<10)
	var shown bytes.Buffer
	out := tape.Output(StreamStdout, &shown, 0, false)
	b.tape.failAt = 1
	if _, err := out.Write([]byte("x")); !errors.Is(err, ErrRecorder) || shown.Len() > 0 {
		t.Errorf("%v, and the client is shown %q", err, shown.String())
	}
	b.tape.failAt = 0
	if _, err := out.Write([]byte("y")); err == nil || shown.Len() > 0 {
		t.Error("it goes on after a failure")
	}
	if err := tape.End(&recording.Response{}); err != nil {
		t.Fatal(err)
	}
	if err := tape.Input(StreamStdin, []byte("x")); !errors.Is(err, ErrSealed) {
		t.Errorf("input after the end: %v", err)
	}
	if _, err := tape.Output(StreamStderr, &shown, 0, false).Write([]byte("x")); !errors.Is(err, ErrSealed) || shown.Len() > 0 {
		t.Errorf("output after the end: %v", err)
	}
}

package session

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// What may be the beginning of a value is shown once there is no more output, and no sooner.
func TestOutputShowsWhatIsHeld(t *testing.T) {
	const card, quiet = "4111111111111111", 50 * time.Millisecond
	type step struct {
		part  string
		later time.Duration
		shows string // of it all
	}
	for name, tc := range map[string]struct {
		never    bool
		steps    []step
		recorded string // before the end
		end      string // of what is shown
		whole    string // of the recording
	}{
		"a prompt": {steps: []step{{"login", 0, ""}, {"", quiet - 1, ""}, {"", 1, "login"}}, end: "login", whole: "login"},
		"output between": {steps: []step{{"4111", quiet - 1, ""}, {"1111", quiet - 1, ""}, {"11111111", quiet - 1, ""}, {"\n", 0, "[card]\n"}, {"", time.Hour, "[card]\n"}},
			recorded: "[card]\n", end: "[card]\n", whole: "[card]\n"},
		"too slow":             {steps: []step{{card[:8], quiet, card[:8]}, {card[8:] + "\n", 0, card + "\n"}}, recorded: "[card]\n", end: card + "\n", whole: "[card]\n"},
		"without a terminal":   {never: true, steps: []step{{"login", time.Hour, ""}}, end: "login", whole: "login"},
		"a value at the end":   {never: true, steps: []step{{card, time.Hour, ""}}, end: "[card]", whole: "[card]"},
		"a terminal that ends": {steps: []step{{card, quiet - 1, ""}}, end: "[card]", whole: "[card]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, tape := playing(t, 1<<10, v1alpha1.DetectCreditCard, v1alpha1.DetectEmail)
				after := quiet
				if tc.never {
					after = 0
				}
				var shown bytes.Buffer
				out := tape.Output(StreamStdout, &shown, after, false)
				for _, s := range tc.steps {
					if s.part != "" {
						if _, err := out.Write([]byte(s.part)); err != nil {
							t.Fatal(err)
						}
					}
					<-time.After(s.later) // by the clock of the bubble
					synctest.Wait()
					if shown.String() != s.shows {
						t.Errorf("behind %q it shows %q, want %q", s.part, shown.String(), s.shows)
					}
				}
				if streams, _ := recorded(b); streams[StreamStdout] != tc.recorded {
					t.Errorf("recorded %q, want %q", streams[StreamStdout], tc.recorded)
				}
				if err := out.Close(); err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Hour) // by the clock of the bubble
				if streams, _ := recorded(b); shown.String() != tc.end || streams[StreamStdout] != tc.whole {
					t.Errorf("in the end it shows %q, recorded %q", shown.String(), streams[StreamStdout])
				}
			})
		})
	}
}

// What cannot be recorded is not shown, also when the time has come to show it.
func TestOutputHeldWhenTheRecordingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, tape := playing(t, 1<<10, v1alpha1.DetectEmail)
		var shown bytes.Buffer
		out := tape.Output(StreamStdout, &shown, time.Second, false)
		// Recorded as it is shown, so that the recorder is asked at once.
		out.kept = nil
		if _, err := out.Write([]byte("login")); err != nil {
			t.Fatal(err)
		}
		b.tape.failAt = 1
		<-time.After(time.Second) // by the clock of the bubble
		synctest.Wait()
		if _, err := out.Write([]byte("x")); !errors.Is(err, ErrRecorder) || shown.Len() > 0 {
			t.Errorf("%v, and the client is shown %q", err, shown.String())
		}
	})
}

// A part of input that may be the beginning of a value is forwarded before it is recorded, and
// recorded masked, also behind what is skipped.
func TestInputIsRecordedMasked(t *testing.T) {
	const card = "4111111111111111"
	for name, end := range map[string]func(*Tape) error{
		"closed": (*Tape).InputEnded, "cut": func(t *Tape) error { return t.End(&recording.Response{}) },
		"skipped": func(t *Tape) error { return t.Skip(100) },
	} {
		t.Run(name, func(t *testing.T) {
			b, tape := playing(t, 1<<10, v1alpha1.DetectCreditCard)
			for _, key := range "pay " + card + "\rls -l " + card {
				if err := tape.Input(StreamStdin, []byte(string(key))); err != nil {
					t.Fatal(err)
				}
			}
			if streams, _ := recorded(b); streams[StreamStdin] != "pay [card]\rls -l " {
				t.Errorf("recorded %q", streams[StreamStdin])
			}
			if err := end(tape); err != nil {
				t.Fatal(err)
			}
			if streams, _ := recorded(b); streams[StreamStdin] != "pay [card]\rls -l [card]" {
				t.Errorf("recorded %q", streams[StreamStdin])
			}
		})
	}
}

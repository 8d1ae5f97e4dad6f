package kubernetes

import (
	"archive/tar"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/masking/detect"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/shell"
)

const cardNumber = "4111111111111111"

// allowing allows all.
type allowing struct{}

func (allowing) Decide(*policy.Command) policy.Decision { return policy.Decision{Action: policy.Allow} }

// reel is a recording.
type reel struct {
	streams map[string]string
	tags    []string
	ended   *recording.Input
}

func (r *reel) Record(e *recording.Event) error {
	switch {
	case e.Output != nil:
		r.streams[e.Output.Stream] += string(e.Output.Data)
	case e.Input != nil:
		r.streams[e.Input.Stream] += string(e.Input.Data)
		if e.Input.Final {
			r.ended = e.Input
		}
	case e.Response != nil:
		r.tags = append(r.tags, e.Response.Tag)
	}
	return nil
}

func (r *reel) Close(string) error { return nil }

// shown is what a client is shown.
type shown struct {
	terminal
	text strings.Builder
}

func (s *shown) write(_ string, p []byte) error { s.text.Write(p); return nil }

// tapeFor is the tape of a command without a terminal, whose session finds what the detectors do,
// and of which a stream is an archive.
func tapeFor(t *testing.T, archive string, plain bool, detectors ...v1alpha1.Detector) (*tape, *shown, *reel) {
	t.Helper()
	set, err := detect.New(detectors)
	if err != nil {
		t.Fatal(err)
	}
	r := &reel{streams: map[string]string{}}
	s := session.New(session.Config{Admission: &policy.Admission{Rules: allowing{}, Detectors: set}, Recorder: r,
		Counters: &session.Counters{}, Commands: new(atomic.Uint64), RedactKey: make([]byte, 32), End: func(error) {}})
	permit, err := s.Authorize(t.Context(), &policy.Command{Engine: Name, Kubernetes: &kubeapi.Facts{Known: true}}, session.Verdict{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &shown{}
	tape := &tape{client: client, asked: &kubeapi.Stream{Stdout: true}, streams: s.Tape(permit), files: list(archive, plain, s, permit)}
	t.Cleanup(tape.files.end)
	tape.prepare(false, 0)
	return tape, client, r
}

// An archive passes up to what would have to be masked.
func TestArchivesAreNotMasked(t *testing.T) {
	tape, client, _ := tapeFor(t, streamStdout, false, v1alpha1.DetectCreditCard)
	if err := tape.output(streamStdout, []byte("clean\n4111")); err != nil {
		t.Fatal(err)
	}
	err := tape.output(streamStdout, []byte(cardNumber[4:]+"\nmore"))
	if !errors.Is(err, errArchive) || client.text.String() != "clean\n" {
		t.Errorf("%v, %q", err, client.text.String())
	}
	if err := tape.outputEnded(); !errors.Is(err, errArchive) || client.text.String() != "clean\n" {
		t.Errorf("in the end %v, %q", err, client.text.String())
	}
}

// G6: of an archive that enters a container only what is within large files is not kept.
func TestLargeFilesAreCounted(t *testing.T) {
	const large, small = largeFile + 1<<16, 5000
	file := func(name string, size int64, format tar.Format) *tar.Header {
		return &tar.Header{Name: name, Size: size, Typeflag: tar.TypeReg, Mode: 0o600, Format: format}
	}
	for name, tc := range map[string]struct {
		archive []byte
		not     bool // made into files alone
		skips   bool
	}{
		"large":                 {archive: archiveOf(t, file("large", large, tar.FormatUSTAR), file("small", small, tar.FormatUSTAR)), skips: true},
		"small":                 {archive: archiveOf(t, file("small", small, tar.FormatUSTAR))},
		"other options":         {archive: archiveOf(t, file("large", large, tar.FormatUSTAR)), not: true},
		"GNU":                   {archive: archiveOf(t, file("large", large, tar.FormatGNU))},
		"a global header":       {archive: archiveOf(t, &tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"size": "0"}}, file("large", large, tar.FormatUSTAR))},
		"no archive":            {archive: []byte(strings.Repeat("echo hello\n", large/11))},
		"commands behind a one": {archive: append(archiveOf(t, file("small", small, tar.FormatUSTAR)), strings.Repeat("echo hello\n", large/11)...)},
	} {
		t.Run(name, func(t *testing.T) {
			tape, _, r := tapeFor(t, streamStdin, !tc.not)
			for rest := tc.archive; len(rest) > 0; {
				n := min(len(rest), readSize)
				if err := tape.input(streamStdin, rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := tape.streams.InputEnded(); err != nil {
				t.Fatal(err)
			}
			tape.files.end()
			kept := r.streams[streamStdin]
			if !tc.skips {
				if kept != string(tc.archive) || r.ended.Truncated {
					t.Errorf("%d of %d bytes are kept", len(kept), len(tc.archive))
				}
				return
			}
			if len(kept) > len(tc.archive)-largeFile+2*readSize || !r.ended.Truncated || r.ended.ByteCount != int64(len(tc.archive)) {
				t.Errorf("%d of %d bytes are kept, the end is %+v", len(kept), len(tc.archive), r.ended)
			}
			for _, header := range []string{"large", "small"} {
				if !strings.Contains(kept, header+"\x00") {
					t.Errorf("the header of %s is not kept", header)
				}
			}
			if len(r.tags) != 3 || !strings.Contains(r.tags[0], "begins") || !strings.Contains(r.tags[1], "SHA-256") {
				t.Errorf("%q", r.tags)
			}
		})
	}
}

func TestUnpacks(t *testing.T) {
	for line, want := range map[string]bool{
		"tar -xmf - -C /tmp": true,
		"tar --no-same-permissions --no-same-owner -xmf - -C /": true,
		"tar xf -":                  true,
		"/tmp/tar xf -":             false,
		"tar xf - --to-command=sh":  false,
		"tar --to-command sh -xf -": false,
		"tar -I sh -xf -":           false,
		"tar -xf - --checkpoint=1 --checkpoint-action=exec=sh": false,
		"env TAR_OPTIONS=--to-command=sh tar xf -":             false,
		"sh -c 'tar xf -'": false,
		"tar xf - $X":      false,
		"tar -xf - -C":     false,
		"tar -xOf -":       false,
	} {
		f := shell.Line(line, shell.POSIX)
		if got := archived(f) == streamStdin && unpacks(f); got != want {
			t.Errorf("%s: %t, want %t", line, got, want)
		}
	}
}

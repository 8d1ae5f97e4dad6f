package recording

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// progress says how far a recording was shipped. It lies beside the session's events,
// written whole.
type progress struct {
	Version  int       `json:"version"` // 1
	Started  Started   `json:"started"`
	Segments int       `json:"segments"`        // stored
	Previous string    `json:"previous"`        // digest of the last one
	Offset   int64     `json:"offset"`          // bytes of the recording in them
	Sequence uint64    `json:"sequence"`        // of the event to which the byte at Offset belongs
	Split    bool      `json:"split,omitempty"` // the last one ended within an event
	Begun    time.Time `json:"begun"`           // time of the first event
	Time     time.Time `json:"time"`            // not after that of any later event
	Tally    Tally     `json:"tally"`           // of the events that begin in what is stored
	Done     bool      `json:"done,omitempty"`
	Recorder string    `json:"recorder,omitempty"` // the place of the manifest
	Number   uint64    `json:"number,omitempty"`
	Cut      bool      `json:"cut,omitempty"`
}

// parcel is a segment on its way, kept so that every attempt, by another process too, puts
// the very same bytes.
type parcel struct {
	Segment
	Begin, End int64
	// Next is the sequence of the event to which the byte at End belongs.
	Next uint64
	// Tally is that of the events that begin in it.
	Tally Tally
}

// parcelHeader is the first line of a parcel's file; the segment's data follows.
type parcelHeader struct {
	Seal  string `json:"seal"`
	Grant string `json:"grant,omitempty"`
	Begin int64  `json:"begin"`
	End   int64  `json:"end"`
	Next  uint64 `json:"next"`
	Tally Tally  `json:"tally"`
}

func (p *parcel) encode() ([]byte, error) {
	seal, err := p.Seal()
	if err != nil {
		return nil, err
	}
	h, err := json.Marshal(parcelHeader{Seal: string(seal), Grant: p.Grant, Begin: p.Begin, End: p.End, Next: p.Next, Tally: p.Tally})
	if err != nil {
		return nil, err
	}
	return append(append(h, '\n'), p.Data...), nil
}

// errDamaged is a file of the spool that does not hold what it should.
var errDamaged = errors.New("damaged")

func decodeParcel(b []byte) (*parcel, error) {
	line, data, found := bytes.Cut(b, []byte{'\n'})
	if !found {
		return nil, errDamaged
	}
	var h parcelHeader
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	s, err := ParseSeal([]byte(h.Seal))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	s.Grant, s.Data = h.Grant, data
	if s.Bytes != len(data) || s.DataSum != sumOf(data) {
		return nil, errDamaged
	}
	return &parcel{Segment: s, Begin: h.Begin, End: h.End, Next: h.Next, Tally: h.Tally}, nil
}

// writeWhole replaces a file so that a reader, after a crash too, finds the old content or
// the new. On a full disk it takes the reserve.
func (s *Spool) writeWhole(path string, content []byte) error {
	err := WriteWhole(path, content)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		s.reserve.spend()
		err = WriteWhole(path, content)
	}
	return err
}

// ReadWhole reads a file that has at most limit bytes.
func ReadWhole(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", filepath.Base(path), limit)
	}
	return b, nil
}

// WriteWhole replaces the file at path so that a reader, after a crash of the process or
// the machine too, finds the old content or the new and nothing between. Only this user
// can read it.
func WriteWhole(path string, content []byte) error {
	f, err := os.OpenFile(path+"~", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(path+"~", path)
	}
	if err != nil {
		_ = os.Remove(path + "~")
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// reserve is disk space kept for shipping: without it a full disk could not be emptied.
type reserve struct {
	path string
	mu   sync.Mutex
	// spent says that the space was given up and must be taken again.
	spent bool
}

// reserveBytes hold what the shippers write at one time: a parcel and a progress each.
const reserveBytes = shippers * (MaxSegmentData + 64<<10)

func (r *reserve) fill() error {
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserveBytes)
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = io.CopyN(f, zeros{}, reserveBytes)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		// What fills the disk may be what has to be shipped.
		r.spent = true
		return os.Remove(r.path)
	}
	if err != nil {
		return fmt.Errorf("reserve %d bytes: %w", reserveBytes, err)
	}
	r.spent = false
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// spend gives the space to whoever writes next.
func (r *reserve) spend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spent = true
	_ = os.Remove(r.path)
}

// refill takes the space again after it was spent, if the disk has it.
func (r *reserve) refill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.spent {
		return
	}
	if err := r.fill(); err != nil {
		r.spent = true
	}
}

package recording

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// windowBytes is how much of a chunk is mapped at a time. A busy session takes as much
	// disk space in advance.
	windowBytes = 256 << 10
	// busyBytes is what a session records before it counts as busy: short ones do without a
	// window.
	busyBytes = 64 << 10
	// maxWindowLine is the largest event that goes into a window.
	maxWindowLine = windowBytes / 8
)

// window is the end of a session's last file, mapped. What is copied into it survives the
// death of the process as what is written does, for it is in the page cache, and costs no
// system call. The file's blocks are taken beforehand, so that a full disk is noticed when
// the window is opened: while it is written to, it would be a fatal signal.
//
// Behind what was copied the file holds zeros, until the window is closed: only the last
// file of a session can end in them.
type window struct {
	data []byte
	at   int // of the next byte
}

// mappable are the file systems on which taken blocks stay taken: a write to them never
// needs another one (statfs(2)).
var mappable = map[int64]bool{unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.TMPFS_MAGIC: true}

// canMap reports whether windows can be used in a directory.
func canMap(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && mappable[s.Type]
}

// openWindow maps what follows the first size bytes of f. Without room on the disk, or
// where the file system cannot promise any, there is none, and no error.
func openWindow(f *os.File, size int64) (window, error) {
	from := size &^ int64(os.Getpagesize()-1)
	fd := int(f.Fd()) //nolint:gosec // a descriptor
	if err := uninterrupted(func() error { return unix.Fallocate(fd, 0, from, windowBytes) }); err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EFBIG) {
			// What there is may be enough for the event itself.
			return window{}, f.Truncate(size)
		}
		return window{}, fmt.Errorf("take disk space: %w", err)
	}
	data, err := unix.Mmap(fd, from, windowBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return window{}, errors.Join(fmt.Errorf("map a spool file: %w", err), f.Truncate(size))
	}
	// To fault in all pages at once is cheaper than one by one; where the kernel cannot, they
	// come one by one.
	_ = unix.Madvise(data, unix.MADV_POPULATE_WRITE)
	return window{data: data, at: int(size - from)}, nil
}

// uninterrupted makes a system call again that a signal interrupted, as the standard library
// does for its own: the runtime itself sends signals.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// take copies a line into the window; false if it does not fit.
func (w *window) take(line []byte) bool {
	if len(line) > len(w.data)-w.at {
		return false
	}
	copy(w.data[w.at:], line)
	w.at += len(line)
	return true
}

// close unmaps the window.
func (w *window) close() error {
	if w.data == nil {
		return nil
	}
	data := w.data
	*w = window{}
	if err := unix.Munmap(data); err != nil {
		return fmt.Errorf("unmap a spool file: %w", err)
	}
	return nil
}

// put adds a line to the last file. t.mu is held.
func (t *tape) put(line []byte) error {
	if t.window.take(line) {
		return nil
	}
	busy := t.spool.maps && t.offset >= busyBytes && len(line) <= maxWindowLine
	if !busy {
		if err := t.settle(); err != nil {
			return err
		}
		_, err := t.file.Write(line)
		return err
	}
	if err := t.window.close(); err != nil {
		return err
	}
	var err error
	if t.window, err = openWindow(t.file, t.chunks[len(t.chunks)-1].size); err != nil {
		return err
	}
	if t.window.take(line) {
		return nil
	}
	_, err = t.file.Write(line)
	return err
}

// settle closes the window and cuts the last file to what it holds. t.mu is held.
func (t *tape) settle() error {
	if t.window.data == nil || t.file == nil {
		return nil
	}
	if err := t.window.close(); err != nil {
		return err
	}
	if err := t.file.Truncate(t.chunks[len(t.chunks)-1].size); err != nil {
		return fmt.Errorf("end a spool file: %w", err)
	}
	return nil
}

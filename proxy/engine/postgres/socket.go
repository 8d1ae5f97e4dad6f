package postgres

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// socket reads and writes a TCP connection by system calls that the scheduler is not told of.
// The kernel never blocks in them: the descriptor does not block, and the runtime is asked to
// wait for it as ever. To be told costs more than a call for a message of some hundred bytes:
// a call that takes longer than a moment loses its processor to another thread, which has to
// be woken for it (docs/performance.md). Deadlines and Close act as on the connection itself.
type socket struct {
	net.Conn
	in, out half
}

// half is one direction. Its function is made once, for it would be made on the heap with
// each call.
type half struct {
	mu    sync.Mutex
	name  string
	wait  func(func(fd uintptr) bool) error
	call  func(fd uintptr) bool
	b     []byte
	n     int
	errno syscall.Errno
}

// newSocket returns c with the calls of a socket, and any other connection as it is.
func newSocket(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return c
	}
	s := &socket{Conn: c}
	s.in.name, s.in.wait, s.in.call = "read", raw.Read, s.in.caller(syscall.SYS_READ)
	s.out.name, s.out.wait, s.out.call = "write", raw.Write, s.out.caller(syscall.SYS_WRITE)
	return s
}

// caller returns a function that makes a system call once, and reports whether it need not
// wait for the descriptor.
func (h *half) caller(trap uintptr) func(fd uintptr) bool {
	return func(fd uintptr) bool {
		for {
			n, _, errno := syscall.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(h.b))), uintptr(len(h.b))) //nolint:gosec // what read(2) and write(2) take
			switch errno {
			case 0:
				h.n = int(n) //nolint:gosec // at most len(h.b)
				return true
			case syscall.EINTR:
			case syscall.EAGAIN:
				return false
			default:
				h.errno = errno
				return true
			}
		}
	}
}

// do makes the call for b, which is not empty, and waits until it can be made. Its errors
// are those of a connection: crypto/tls asks them whether they last.
func (h *half) do(b []byte) (int, error) {
	h.b, h.n, h.errno = b, 0, 0
	err := h.wait(h.call)
	h.b = nil
	if err == nil && h.errno != 0 {
		err = &net.OpError{Op: h.name, Net: "tcp", Err: os.NewSyscallError(h.name, h.errno)}
	}
	return h.n, err
}

// Read implements net.Conn.
func (s *socket) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	n, err := s.in.do(b)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write implements net.Conn.
func (s *socket) Write(b []byte) (int, error) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	done := 0
	for done < len(b) {
		n, err := s.out.do(b[done:])
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

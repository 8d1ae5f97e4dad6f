package postgres

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// pending reports whether bytes of the client wait to be read.
func pending(c net.Conn) (bool, error) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return false, nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return false, err
	}
	var n int
	var peekErr error
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, peekErr = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	if err != nil {
		return false, err
	}
	if errors.Is(peekErr, unix.EAGAIN) {
		return false, nil
	}
	return n > 0, peekErr
}

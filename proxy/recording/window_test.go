package recording

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInterruptedCallsAreMadeAgain(t *testing.T) {
	left := 3
	interrupted := func(end error) func() error {
		return func() error {
			if left--; left > 0 {
				return unix.EINTR
			}
			return end
		}
	}
	if err := uninterrupted(interrupted(nil)); err != nil || left != 0 {
		t.Errorf("err = %v, %d calls left", err, left)
	}
	left = 2
	if err := uninterrupted(interrupted(unix.ENOSPC)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("err = %v", err)
	}
}

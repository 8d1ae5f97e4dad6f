package kubernetes

import (
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

func isLog(f *kubeapi.Facts) bool { return f.Known && f.Is("", "pods", "log") }

// copyLog passes on a container's log as text, of which what detectors find is replaced.
func (a *answer) copyLog(what *understood) error {
	masked := a.handler.session.Admission().Detectors != nil
	switch encoding := a.from.Header.Get("Content-Encoding"); {
	case masked && encoding != "" && !strings.EqualFold(encoding, "identity"):
		return errUnmaskable
	case !masked && a.from.ContentLength >= 0:
		a.w.Header().Set("Content-Length", strconv.FormatInt(a.from.ContentLength, 10))
	}
	a.text = a.handler.session.NewMask()
	a.start(a.from.Header.Get("Content-Type"))
	if err := a.flush(); err != nil {
		return err
	}
	if err := a.copy(a.from.Body, true); err != nil {
		return err
	}
	if strings.Contains(what.query, "limitBytes=") {
		// The client chose where the log is cut: what is held back there may be all of a value but
		// its last byte.
		return nil
	}
	return a.pass(a.text.Flush(nil))
}

package kubernetes

import (
	"errors"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

// shellStreams are the streams of a shell that the gate itself talks to. Unlike those of a
// command for a client, one that is not read keeps none of the others.
type shellStreams map[string]httpstream.Stream

// open opens what was asked for.
func (s shellStreams) open(conn httpstream.Connection, asked *kubeapi.Stream) error {
	for _, stream := range (asks{asked.Stdin, asked.Stdout, asked.Stderr, asked.TTY}).names() {
		opened, err := conn.CreateStream(http.Header{corev1.StreamType: {stream}})
		if err != nil {
			return unreachable(errors.New("it opens no streams"))
		}
		s[stream] = opened
	}
	return nil
}

// ended waits until the shell has ended, and returns as carry does.
func (s shellStreams) ended() error {
	return endOf(io.ReadAll(io.LimitReader(s[streamError], maxStatus)))
}

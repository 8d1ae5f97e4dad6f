package kubernetes

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/websocket"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// acceptance answers a client's request for a stream. After an error the client has been
// answered.
type acceptance func(ctx context.Context, w http.ResponseWriter, r *http.Request, asked *kubeapi.Stream, l Limits) (terminal, error)

// offered returns what answers the protocols that a client offers for exec and attach.
func offered(r *http.Request) (acceptance, *policy.Refusal) {
	if r.ProtoMajor != 1 || !httpstream.IsUpgradeRequest(r) || r.ContentLength != 0 {
		return nil, &policy.Refusal{Code: policy.CodeProtocol, Message: "exec and attach need an upgrade of the connection to WebSocket or SPDY",
			Hint: "use kubectl or a client library"}
	}
	switch {
	case websocket.IsWebSocketUpgrade(r):
		for _, p := range websocket.Subprotocols(r) {
			if p == remotecommand.StreamProtocolV5Name || p == remotecommand.StreamProtocolV4Name {
				return func(_ context.Context, w http.ResponseWriter, r *http.Request, asked *kubeapi.Stream, l Limits) (terminal, error) {
					return acceptWebSocket(w, r, p, asked, l)
				}, nil
			}
		}
	case strings.EqualFold(r.Header.Get("Upgrade"), spdy.HeaderSpdy31) &&
		slices.Contains(r.Header.Values(httpstream.HeaderProtocolVersion), remotecommand.StreamProtocolV4Name):
		return acceptSPDY, nil
	}
	return nil, &policy.Refusal{Code: policy.CodeProtocol, Message: "exec and attach need v4.channel.k8s.io or v5.channel.k8s.io over WebSocket, or v4.channel.k8s.io over SPDY",
		Hint: "use a newer client"}
}

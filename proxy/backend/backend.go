// Package backend is what the data plane needs from where its policy comes from: the API
// server (kube) or a folder of manifests (files). Both are the same interfaces, so that
// what is tried without a cluster is what runs in one.
package backend

import (
	"context"
	"crypto/tls"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

// Backend is everything that the data plane needs from outside.
type Backend interface {
	policy.Source
	approval.Requests
	session.Secrets

	// Run keeps the backend current until ctx ends. It returns nil then, and an error if it
	// can never work.
	Run(ctx context.Context) error
	// Ready is closed when the first snapshot is there.
	Ready() <-chan struct{}
	// Session writes the object of a session. The first call creates it; later ones, and the
	// first after a restart of the proxy, change its status alone: what is unset in s stays as
	// it is. Calls for one session come in order, at a bounded rate and off the data path.
	Session(ctx context.Context, s *v1alpha1.Session) error
	// Reachable reports the outcome of the last attempt to sign in to a target; nil is
	// success. It does not block.
	Reachable(target *v1alpha1.Target, err error)
	// TLS is the configuration for clients: the serving certificate, renewed while running,
	// and the authority of client certificates, which are asked for and not required.
	TLS() *tls.Config
	// SSH returns the gate's host key with its certificate, renewed while running, and the
	// authorities of the certificates of users.
	SSH() (host ssh.Signer, authorities []ssh.PublicKey, err error)
	// Recorder is the key that recordings are signed with, renewed while running. It does not
	// block and is never nil.
	Recorder() *recording.Key
}

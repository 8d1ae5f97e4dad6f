package postgres

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/approval"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/test/peers"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// away is a store of requests that can be out of reach.
type away struct {
	*peers.Requests
	gone atomic.Bool
}

var errAway = errors.New("connection refused")

func (a *away) Get(ctx context.Context, name string) (*v1alpha1.ApprovalRequest, error) {
	if a.gone.Load() {
		return nil, errAway
	}
	return a.Requests.Get(ctx, name)
}

func (a *away) UpdateStatus(ctx context.Context, r *v1alpha1.ApprovalRequest) error {
	if a.gone.Load() {
		return errAway
	}
	return a.Requests.UpdateStatus(ctx, r)
}

// G5: an approval that cannot be used up releases nothing, though a cache shows it.
func TestG5NothingIsReleasedWhileRequestsAreAway(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table orders (id int); insert into orders values (1)")
	var requests *away
	g := start(t, server, rule("deletes", v1alpha1.ActionRequireApproval, v1alpha1.PendingWait, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}}),
		func(g *gate, _ *engpg.Config) {
			requests = &away{Requests: g.requests}
			g.holder = approval.NewHolder(requests, clock.RealClock{})
		})
	fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
	fe.send(query("delete from orders"))
	if got := fe.until("Notice"); strings.HasSuffix(got, "closed") {
		t.Fatal(got)
	}
	requests.gone.Store(true)
	g.requests.Decide(g.requests.All()[0].Name, "dora", []string{"dba"}, v1alpha1.DecisionApproved, time.Now())
	if got := fe.untilReady(); !strings.Contains(got, "ERROR(42501 CDA-") || !strings.HasSuffix(got, "Ready(I)") {
		t.Errorf("got %s", got)
	}
	if rows := server.Query(t, "postgres", "select 1 from orders"); len(rows) != 1 {
		t.Error("it was executed")
	}
}

// What begins a connection is no message of one that has begun.
func TestNegotiationInsideASession(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessFull)
	for name, b := range map[string]string{
		"SSLRequest": "\x00\x00\x00\x08\x04\xd2\x16\x2f", "GSSENCRequest": "\x00\x00\x00\x08\x04\xd2\x16\x30",
		"CancelRequest": "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x01",
		"startup":       "\x00\x00\x00\x17\x00\x03\x00\x00user\x00postgres\x00\x00",
	} {
		fe := frontend(t, g, c, "postgres")
		if err := fe.bytes([]byte(b)); err != nil {
			t.Fatal(err)
		}
		if got := fe.until("FATAL"); !strings.Contains(got, "FATAL(08P01") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

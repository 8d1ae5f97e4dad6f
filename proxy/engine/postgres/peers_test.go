package postgres

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestReplicasAreLookedForOnce has a name service that does not answer: who asks meanwhile
// waits for their own time alone, and the first answer is for all.
func TestReplicasAreLookedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replica := netip.MustParseAddrPort("10.0.0.1:5432")
		answer, looks := make(chan struct{}), new(atomic.Int32)
		p := &peers{engine: &Engine{c: Config{Now: time.Now}}, Peers: Peers{Find: func(ctx context.Context) ([]netip.AddrPort, error) {
			looks.Add(1)
			select {
			case <-answer:
				return []netip.AddrPort{replica}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}}
		var asking sync.WaitGroup
		ask := func(patience time.Duration, want int) {
			asking.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if found := p.replicas(ctx); len(found) != want {
					t.Errorf("who waits for %s finds %d replicas, want %d", patience, len(found), want)
				}
			})
			synctest.Wait()
		}
		ask(2*time.Second, 0)
		ask(time.Second, 0)
		ask(time.Minute, 1)
		time.Sleep(time.Second) //nolint:forbidigo // on the clock of the bubble: nobody waits
		synctest.Wait()
		if n := looks.Load(); n != 1 {
			t.Errorf("they are looked for %d times at once", n)
		}
		time.Sleep(time.Second) //nolint:forbidigo // on the clock of the bubble
		synctest.Wait()
		if n := looks.Load(); n != 2 {
			t.Errorf("when the first gives up, the next looks: %d", n)
		}
		close(answer)
		asking.Wait()
		ask(time.Second, 1)
		asking.Wait()
		if n := looks.Load(); n != 2 {
			t.Errorf("what was found is not remembered: %d", n)
		}
	})
}

package gate

import (
	"fmt"
	"net/netip"
	"testing"
)

// G9: idle clients give way, of the source that is greedy, and nobody else.
func TestLobby(t *testing.T) {
	l := newLobby(6, 3)
	var evicted []string
	enter := func(name, addr string) func() {
		return l.enter(netip.MustParseAddr(addr), func() { evicted = append(evicted, name) })
	}
	expect := func(want ...string) {
		t.Helper()
		if fmt.Sprint(evicted) != fmt.Sprint(want) {
			t.Errorf("evicted %v, want %v", evicted, want)
		}
		evicted = nil
	}
	leave := enter("a1", "10.0.0.1")
	enter("a2", "10.0.0.1")
	enter("a3", "::ffff:10.0.0.1") // the same address in another spelling
	expect()
	enter("a4", "10.0.0.1")
	expect("a1")
	leave() // it is gone already
	enter("b1", "10.0.0.2")
	enter("c1", "2001:db8::1")
	enter("c2", "2001:db8::2") // the same /64
	expect()
	enter("d1", "10.0.0.4")
	expect("a2")
	enter("c3", "2001:db8::3") // as greedy as a, and the one who asks
	expect("c1")
	enter("e1", "10.0.0.5")
	if fmt.Sprint(evicted) != "[a3]" && fmt.Sprint(evicted) != "[c2]" {
		t.Errorf("evicted %v, want the oldest of a greedy source", evicted)
	}
	if l.total != 6 {
		t.Errorf("%d are in, want 6", l.total)
	}
}

func TestLobbyForgets(t *testing.T) {
	l := newLobby(10, 10)
	for i := range 1000 {
		leave := l.enter(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), func() { t.Error("evicted") })
		leave()
		leave()
	}
	l.enter(netip.Addr{}, func() {})()
	if l.total != 0 || len(l.sources) != 0 {
		t.Errorf("%d and %d are left", l.total, len(l.sources))
	}
}

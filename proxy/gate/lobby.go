package gate

import (
	"container/list"
	"net/netip"
	"sync"
)

// lobby holds the connections of clients that have not proven their identity yet, and
// bounds them. When it is full the oldest connection of the source that asks gives way, or
// of the source with the most connections if that is another: an honest client is gone in
// milliseconds, so what is old is idle, and idle clients never keep others out.
type lobby struct {
	max, perSource int

	mu      sync.Mutex
	total   int
	sources map[netip.Prefix]*list.List // of *guest, oldest first
}

type guest struct {
	source  netip.Prefix
	evict   func()
	element *list.Element
}

func newLobby(limit, perSource int) *lobby {
	return &lobby{max: limit, perSource: perSource, sources: map[netip.Prefix]*list.List{}}
}

// enter takes a connection in. evict is called, at most once and from any goroutine, if it
// has to give way. The result must be called when the client has proven its identity or
// is gone.
func (l *lobby) enter(addr netip.Addr, evict func()) (leave func()) {
	g := &guest{source: sourceOf(addr), evict: evict}
	l.mu.Lock()
	victim := l.makeRoom(g.source)
	q := l.sources[g.source]
	if q == nil {
		q = list.New()
		l.sources[g.source] = q
	}
	g.element = q.PushBack(g)
	l.total++
	l.mu.Unlock()
	if victim != nil {
		victim.evict()
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.remove(g)
	}
}

func (l *lobby) makeRoom(source netip.Prefix) *guest {
	q := l.sources[source]
	if q == nil || q.Len() < l.perSource {
		if l.total < l.max {
			return nil
		}
		for _, other := range l.sources {
			if q == nil || other.Len() > q.Len() {
				q = other
			}
		}
	}
	victim := q.Front().Value.(*guest)
	l.remove(victim)
	return victim
}

func (l *lobby) remove(g *guest) {
	if g.element == nil {
		return
	}
	q := l.sources[g.source]
	q.Remove(g.element)
	g.element = nil
	l.total--
	if q.Len() == 0 {
		delete(l.sources, g.source)
	}
}

// sourceOf is what counts as one source: an IPv4 address, or the /64 that one IPv6 host
// can choose addresses from.
func sourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // all addresses that are none share one place
	}
	return p
}

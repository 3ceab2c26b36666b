package network

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/faultlist"
)

// Network connects hosts. Safe for concurrent use.
type Network struct {
	seed  uint64
	began time.Time

	mu      sync.Mutex // guards the following, and all hosts, listeners and connections
	rnd     *rand.Rand
	hosts   map[string]*Host // by address
	faults  faultlist.List[activeFault]
	links   map[uint64]*link // those of which an end is open
	dials   map[string]int   // that wait, by the address of the host that dials
	lastID  uint64           // of a link
	moments int64            // given out so far
}

// never is a time that does not come.
// All int64 times of the package are nanoseconds since the Network was made.
const never = math.MaxInt64

// New returns a network without hosts.
func New(seed uint64) *Network {
	return &Network{
		seed: seed, began: time.Now(), rnd: chance.Seeded(seed).Of("network").Rand(), hosts: map[string]*Host{},
		links: map[uint64]*link{}, dials: map[string]int{},
	}
}

// Host adds a host at an IP address that no other host has.
func (n *Network) Host(addr string) *Host {
	ip := netip.MustParseAddr(addr)
	addr = ip.String()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[addr] != nil {
		panic(fmt.Sprintf("network: address %s is taken", addr))
	}
	h := &Host{
		net: n, ip: net.IP(ip.AsSlice()), addr: addr, gone: make(chan struct{}), listeners: map[int]*listener{},
		ends: map[*Conn]bool{}, lastPort: firstPort,
	}
	n.hosts[addr] = h
	n.resetVanishedPeers(h)
	return h
}

// resetVanishedPeers resets connections to an earlier host of the address that has vanished. The peers still repeat
// packets that nobody has confirmed. The caller holds mu.
func (n *Network) resetVanishedPeers(h *Host) {
	for _, l := range n.sortedLinks() {
		for _, end := range l.ends {
			if end.host.addr == h.addr && end.host != h && l.vanished && !end.peer.closed && end.peer.out.inFlight() {
				n.failAt(end.peer, n.moment(repeatPause+2*l.latency()), syscall.ECONNRESET)
			}
		}
	}
}

// repeatPause is how long a host waits before it repeats a packet that nobody confirmed.
const repeatPause = 200 * time.Millisecond

// sortedLinks returns the links in the order in which they were made. The caller holds mu.
func (n *Network) sortedLinks() []*link {
	return slices.SortedFunc(maps.Values(n.links), func(a, b *link) int { return cmp.Compare(a.id, b.id) })
}

// Open returns the number of open ends of connections, of listeners and of dials that wait.
func (n *Network) Open() int { return n.OpenOf("") }

// OpenOf is Open for the host at one address.
func (n *Network) OpenOf(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	sum := 0
	for _, l := range n.links {
		for _, end := range l.ends {
			if !end.closed && (addr == "" || end.host.addr == addr) {
				sum++
			}
		}
	}
	for _, h := range n.hosts {
		if addr == "" || h.addr == addr {
			sum += len(h.listeners)
		}
	}
	for from, waiting := range n.dials {
		if addr == "" || from == addr {
			sum += waiting
		}
	}
	return sum
}

// PeersOf returns the addresses at the other ends of the open connections of a host.
func (n *Network) PeersOf(addr string) (peers []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.sortedLinks() {
		for _, end := range l.ends {
			if !end.closed && end.host.addr == addr {
				peers = append(peers, end.remote.String())
			}
		}
	}
	return peers
}

// now returns the time since the network began, in nanoseconds.
func (n *Network) now() int64 { return int64(time.Since(n.began)) }

// momentsPerMicrosecond is how many events a microsecond has room for. Nanosecond 0 is left to the timers of programs,
// which mostly have round times.
const momentsPerMicrosecond = 999

// moment returns the time of an event that is due after a while, with a nanosecond of its own. The caller holds mu.
func (n *Network) moment(after time.Duration) int64 { return n.momentAt(n.now() + int64(after)) }

// momentAt returns a time in the microsecond of at, with a nanosecond of its own. The caller holds mu.
func (n *Network) momentAt(at int64) int64 {
	n.moments++
	return at - at%1000 + 1 + n.moments%momentsPerMicrosecond
}

// momentAfter is momentAt, but later than another moment. The caller holds mu.
func (n *Network) momentAfter(at, other int64) int64 {
	at = n.momentAt(at)
	if at <= other {
		at = n.momentAt(other + 1000)
	}
	return at
}

// latencyOf returns how long a packet takes between two hosts, which is the same in both directions.
func (n *Network) latencyOf(a, b string) time.Duration {
	if a == b {
		return 20 * time.Microsecond
	}
	rnd := chance.Seeded(n.seed).Of("latency " + min(a, b) + " " + max(a, b)).Rand()
	return 50*time.Microsecond + min(time.Duration(rnd.ExpFloat64()*float64(300*time.Microsecond)), 3*time.Millisecond)
}

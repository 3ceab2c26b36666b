package remotewrite

import (
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

const (
	behindChecks = 2 // consecutive checks with a backlog after which an endpoint packs by target
	// time since the last rejection after which a 1.0 receiver is expected to take whole requests
	rejectionTime = 10 * time.Minute
)

// byTarget decides whether an endpoint packs by target: each request has one scrape of one target (stream mode). Such a
// backlog is a seventh of the bytes, and the sender merges up to 8 scrapes of a target, which a receiver takes at a
// quarter of the cost. It costs memory and, for small pages, CPU, so it ends when there was no backlog for a while.
//
// For example, the receiver is unreachable from 12:00:07 to 12:30, and the backlog is delivered at 12:31. The endpoint
// packs by target from the check at 12:00:15 until about 12:36.
//
// It does not where a 1.0 receiver rejects samples. Finding the bad samples in a merged request takes many requests, so
// the mode itself could cause the next backlog.
type byTarget struct {
	on        bool
	delivered int // of the check before
	behind    int // consecutive checks with a backlog
	noBacklog int // consecutive checks without one, while on
}

// next returns whether the endpoint should pack by target. backlog is the number of samples up to which there is none.
//
// More must be pending than was delivered since the check before, too. So what comes in at a high rate is no backlog,
// even if each check happens to see the scrapes of a second.
func (m *byTarget) next(is load, backlog int) bool {
	taken := is.delivered - m.delivered
	m.delivered = is.delivered
	if is.rejects {
		m.on, m.behind, m.noBacklog = false, 0, 0
		return false
	}
	if is.down || is.pending > max(backlog, taken) {
		m.behind++
		m.noBacklog = 0
		m.on = m.on || is.down || m.behind >= behindChecks
		return m.on
	}
	m.behind = 0
	m.noBacklog++
	m.on = m.on && m.noBacklog < noBacklogChecks
	return m.on
}

// rejectsAs10 reports whether the receiver speaks remote write 1.0 and rejected samples lately.
func (s *EndpointStatus) rejectsAs10(now time.Time) bool {
	return s.Protocol == wire.V1.String() && len(s.Rejected) > 0 && now.Sub(s.Rejected[0].Last) < rejectionTime
}

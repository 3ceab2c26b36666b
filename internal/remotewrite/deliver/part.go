package deliver

import "github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"

// group is why a part of a message travels apart.
type group int

const (
	unsuspected group = iota
	suspected         // an earlier search did not tell its series from bad ones
	knownBad          // each of its series was refused alone, lately
	searched          // a piece of a part that was rejected just now: the search has a budget
)

// part is some series of a message.
type part struct {
	wire.Message
	group  group
	single bool   // a single series: it is sent whatever its size
	answer Answer // of a searched part: why
}

package deliver

import "github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"

// group is why some series of a message are sent apart.
type group int

const (
	unsuspected group = iota
	suspected         // an earlier search ended before it was known whether its series are bad
	knownBad          // each of its series was refused alone lately
	searched          // a piece of a part that was rejected in this delivery: sending it costs the budget of the search
)

// part is some series of a message.
type part struct {
	wire.Message
	group    group
	together bool   // knownBad series that were not sent alone
	single   bool   // one sample: it is sent at any size
	answer   Answer // that rejected the part of which this is a piece
}

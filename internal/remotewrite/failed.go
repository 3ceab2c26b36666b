package remotewrite

import (
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// maxLoggedRequest bounds what failed_request_logging writes of one request.
const maxLoggedRequest = 64 << 10

// logFailed writes out what was in a 2.0 request that failed, for who is looking for the reason.
func (e *endpoint) logFailed(m wire.Message, a answer) {
	if !e.log.Core().Enabled(zap.DebugLevel) {
		return
	}
	c, err := wire.Parse(m)
	if err != nil {
		return // told where it is counted
	}
	e.log.Debug("remote write request failed", zap.Int("status", a.status), zap.String("error", a.message), zap.NamedError("cause", a.err),
		zap.Int("samples", m.Samples), zap.String("request", string(c.Describe(maxLoggedRequest))))
}

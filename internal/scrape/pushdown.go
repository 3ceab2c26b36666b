package scrape

import (
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	promrelabel "github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/pushdown"
)

// FilterOf returns the filter with which the targets of a job can be asked for their pages: see package pushdown. If
// there is none, filter is empty, and why has the reason: a clause that begins in lower case and has no full stop.
// Single targets are still asked for whole pages if their path or port says so.
func FilterOf(cfg *promconfig.ScrapeConfig) (filter, why string) {
	if why := pushdown.RefuseParams(cfg.Params); why != "" {
		return "", why
	}
	for i, rule := range cfg.RelabelConfigs {
		if setsParam(rule) {
			return "", fmt.Sprintf("relabel_configs[%d] sets a parameter of the request", i)
		}
	}
	return pushdown.Build(cfg.MetricRelabelConfigs)
}

// ShortFilter returns a filter for people: no more than its first 100 characters, and how many there are.
func ShortFilter(filter string) string {
	const most = 100
	if r := []rune(filter); len(r) > most {
		return fmt.Sprintf("%s… (%d characters)", string(r[:most]), len(r))
	}
	return filter
}

// setsParam reports whether a rule may set a label __param_…, which becomes a parameter of the request.
func setsParam(rule *promrelabel.Config) bool {
	switch rule.Action {
	case promrelabel.LabelMap:
		return strings.HasPrefix(rule.Replacement, model.ParamLabelPrefix)
	case promrelabel.Keep, promrelabel.Drop, promrelabel.KeepEqual, promrelabel.DropEqual, promrelabel.LabelDrop,
		promrelabel.LabelKeep:
		return false
	default:
		return strings.HasPrefix(rule.TargetLabel, model.ParamLabelPrefix)
	}
}

// jobFilter is the filter of a job's targets, and whether it is in force. Safe for concurrent use.
type jobFilter struct {
	expr  string                 // empty: there is none
	param string                 // expr as a parameter of a URL
	why   string                 // why there is none, as FilterOf returns it
	lost  atomic.Pointer[string] // the name of a series that it lost, and so it is off; nil: it is on

	reloads atomic.Uint32 // of the file, without a change of the job
	warned  atomic.Int64  // when a target that refuses it was last warned of, Unix seconds
}

func newJobFilter(cfg *promconfig.ScrapeConfig, opts Options) *jobFilter {
	if opts.PushDown == nil || !opts.PushDown(cfg.JobName) {
		return &jobFilter{why: "push_down is off for the job"}
	}
	expr, why := FilterOf(cfg)
	if expr == "" {
		return &jobFilter{why: why}
	}
	return &jobFilter{expr: expr, param: pushdown.Param(expr)}
}

// inForce returns the filter, or nothing if there is none or it is off.
func (f *jobFilter) inForce() string {
	if f.lost.Load() != nil {
		return ""
	}
	return f.expr
}

// stop switches the filter off until a reload, because it lost a series of this name. It reports whether it was on.
func (f *jobFilter) stop(name string) (wasOn bool) { return f.lost.CompareAndSwap(nil, &name) }

// mayWarn reports whether a warning about a target may be logged: at most one a minute, so that hostile targets do not
// fill the log.
func (f *jobFilter) mayWarn(now time.Time) bool {
	last := f.warned.Load()
	return now.Unix()-last >= 60 && f.warned.CompareAndSwap(last, now.Unix())
}

// reloaded switches the filter on again, also for targets that refused it.
func (f *jobFilter) reloaded() {
	f.lost.Store(nil)
	f.reloads.Add(1)
}

// shownFilter returns the filter with which a target is asked, or why its pages are whole: a clause without a full
// stop.
func (l *loop) shownFilter(refused refusal) (filter, why string) {
	if why = l.whyWhole(refused); why == "" {
		filter = l.job.filter.expr
	}
	return filter, why
}

// whyWhole returns why the pages of a target are whole. It is empty if they are not.
func (l *loop) whyWhole(refused refusal) string {
	f := l.job.filter
	lost := f.lost.Load()
	switch {
	case f.expr == "":
		return f.why
	case !l.target.filters:
		if u, err := url.Parse(l.target.url); err == nil {
			return pushdown.RefuseURL(u)
		}
		return "its URL takes no filter"
	case lost != nil:
		return fmt.Sprintf("the filter lost a series of %s, so it is off until a reload", *lost)
	default:
		return refused.String()
	}
}

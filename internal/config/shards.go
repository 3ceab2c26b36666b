package config

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// ShardOrdinal is a value of Options.ShardIndex: the number at the end of the name of the pod or host.
const ShardOrdinal = "ordinal"

// podNameVariable is the usual variable for the name of the pod (downward API).
const podNameVariable = "POD_NAME"

// ShardPeriod is the number of instances that share the targets from a time on.
type ShardPeriod struct {
	Count int     `yaml:"count"`
	From  Instant `yaml:"from,omitempty"` // zero: from the start
}

// Instant is a time in RFC 3339 format.
type Instant struct{ time.Time }

// UnmarshalYAML accepts only RFC 3339: a date, or a time without a zone, would be ambiguous.
func (i *Instant) UnmarshalYAML(decode func(any) error) (err error) {
	var text string
	if err := decode(&text); err != nil {
		return err
	}
	if i.Time, err = time.Parse(time.RFC3339, text); err != nil {
		return fmt.Errorf("%q is not a time in RFC 3339 format, as 2026-11-24T15:00:00Z", text)
	}
	return nil
}

// MarshalYAML writes the time in RFC 3339 format.
func (i Instant) MarshalYAML() (any, error) { return i.Format(time.RFC3339), nil }

// validateShards returns every problem of the entries.
func validateShards(periods []ShardPeriod) (errs []error) {
	for i, p := range periods {
		key := fmt.Sprintf("shards[%d]", i)
		if p.Count < 1 {
			errs = append(errs, keyError{key + ".count", strconv.Itoa(p.Count), "must be at least 1", correctIt})
		}
		from := p.From.Format(time.RFC3339)
		switch {
		case i == 0 && !p.From.IsZero():
			errs = append(errs, keyError{key + ".from", from,
				"the first entry has no start: remove from, or insert the entry that holds until then", correctIt})
		case i > 0 && p.From.IsZero():
			errs = append(errs, keyError{key, fmt.Sprintf("count: %d", p.Count),
				"from is missing: every entry after the first needs the time at which all instances change to it",
				correctIt})
		case i > 0 && !p.From.After(periods[i-1].From.Time):
			errs = append(errs, keyError{key + ".from", from, "must be later than from of the entry before",
				correctIt})
		}
	}
	return errs
}

// shards returns the shard map of the flags and the file.
func (l *loader) shards() shard.Map {
	before := l.problems.Errors()
	m := shard.Map{Periods: l.shardPeriods()}
	if l.opts.ShardIndex != "" {
		m.Index = l.shardIndex()
	}
	refuse := func(flag, value, why, fix string) {
		l.add(Problem{File: flag, Value: value, Why: why, Fix: fix})
	}
	shared := len(m.Periods) > 0
	switch {
	case l.opts.ShardIndex != "" && !shared && before == l.problems.Errors():
		refuse(flagShardIndex, l.opts.ShardIndex, "the number of instances is missing",
			"give "+flagShardCount+" too, or write "+extensionKey+".shards")
	case l.opts.ShardIndex == "" && shared && (l.opts.ShardCount != "" || !l.opts.Check):
		refuse(flagShardIndex, "",
			"several instances share the targets, but the index of this instance is missing",
			"give "+flagShardIndex+" too, as a number or as "+ShardOrdinal)
	case shared && l.opts.NodeName != "":
		refuse(flagNodeName, l.opts.NodeName,
			"each instance scrapes the pods of its own node, so there is nothing to share",
			"remove "+flagNodeName+" (and NODE_NAME), or remove the shards")
	}
	if before != l.problems.Errors() || l.opts.ShardIndex == "" {
		return shard.Map{}
	}
	most := 0
	for _, p := range m.Periods {
		most = max(most, p.Count)
	}
	if m.Index >= most {
		refuse(flagShardIndex, strconv.Itoa(m.Index),
			fmt.Sprintf("the last of %d instances has index %d", most,
				most-1), "correct it, or the number of instances")
	}
	return m
}

// shardPeriods returns the periods of --shard.count or of the file.
func (l *loader) shardPeriods() (periods []shard.Period) {
	for _, p := range l.ext.Shards {
		periods = append(periods, shard.Period{Count: p.Count, From: p.From.Time})
	}
	text := l.opts.ShardCount
	if text == "" {
		return periods
	}
	count, err := strconv.Atoi(text)
	p := Problem{File: flagShardCount, Value: text, Fix: "give the number of instances, at least 1"}
	switch {
	case err != nil:
		p.Why = "not a number"
	case count < 1:
		p.Why = "must be at least 1"
	case len(periods) > 0:
		p.Why, p.Fix = extensionKey+".shards is set too", "remove one of the two"
	default:
		return []shard.Period{{Count: count}}
	}
	l.add(p)
	return []shard.Period{{Count: max(1, count)}}
}

// lintShards warns about jobs whose samples can arrive out of order when a target moves to another instance.
func (l *loader) lintShards(delays []delay) {
	if len(l.ext.Shards) < 2 || len(delays) == 0 {
		return
	}
	longest := slices.MaxFunc(delays, func(a, b delay) int { return cmp.Compare(a.time, b.time) })
	key := "queue_config.batch_send_deadline"
	if longest.isMaxDelay {
		key = longest.key
	}
	for _, j := range l.jobs {
		if interval := j.cfg.ScrapeInterval; interval <= longest.time {
			l.add(Problem{Severity: SeverityWarning, File: j.src.name, Line: j.node.Line, Job: j.cfg.JobName,
				Key: yamltree.Join(j.path, "scrape_interval"), Value: interval.String(),
				Why: fmt.Sprintf("not longer than %s, %v: when a target moves to another shard, its last sample "+
					"may arrive after the next one", longest.word(), longest.time),
				Fix: "set " + key + " to less than half the interval until the number of shards has changed"})
		}
	}
}

var endsInNumber = regexp.MustCompile(`-([0-9]+)$`)

// shardIndex returns the index of this instance.
func (l *loader) shardIndex() int {
	text := l.opts.ShardIndex
	p := Problem{File: flagShardIndex, Value: text, Fix: "give a number of at least 0, or " + ShardOrdinal}
	if strings.EqualFold(text, ShardOrdinal) {
		name, _ := l.opts.LookupEnv(podNameVariable)
		if name == "" {
			name, _ = os.Hostname()
		}
		found := endsInNumber.FindStringSubmatch(name)
		if found == nil {
			p.Why = fmt.Sprintf("the name %q does not end in a number, as envoy-scraper-0 of a StatefulSet does", name)
			p.Fix = "give the index, or the pod's name in " + podNameVariable
			l.add(p)
			return 0
		}
		text = found[1]
	}
	index, err := strconv.Atoi(text)
	switch {
	case err != nil:
		p.Why = "not a number"
	case index < 0:
		p.Why = "less than 0"
	default:
		return index
	}
	l.add(p)
	return 0
}

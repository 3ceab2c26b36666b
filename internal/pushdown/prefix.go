package pushdown

import (
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/relabel"
)

// prefix is how the names begin that an alternative of a regex matches. The regex istio_(build|tcp_.*|.+_sum) has
//
//	istio_build  nothing
//	istio_tcp_   anything
//	istio_       unknown
type prefix struct {
	text string
	rest rest
}

// rest is what may follow a prefix.
type rest int

const (
	nothing   rest = iota // the prefix is the whole name
	anything              // any text, also none: .*
	something             // any text but none: .+
	unknown               // some texts, perhaps not others
)

// Bounds of what prefixesOf returns. Beyond them names are cut shorter.
const (
	maxPrefixes     = 1024
	maxPrefixLength = 256
)

// prefixesOf returns prefixes of which each name that the regex matches has one.
func prefixesOf(regex relabel.Regexp) []prefix {
	everything := []prefix{{"", unknown}}
	if regex.Regexp == nil {
		return everything
	}
	// The text has Prometheus' anchors: ^(?s:istio_.*)$. A regex such as a)|(?:b breaks out of them.
	re, err := syntax.Parse(regex.Regexp.String(), syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat || len(re.Sub) < 2 || re.Sub[0].Op != syntax.OpBeginText ||
		re.Sub[len(re.Sub)-1].Op != syntax.OpEndText {
		return everything
	}
	return concat(re.Sub[1:len(re.Sub)-1], true, true)
}

// prefixes returns the prefixes of one expression. first and last say whether it is at the beginning and at the end of
// the regex.
func prefixes(re *syntax.Regexp, first, last bool) []prefix {
	switch re.Op {
	case syntax.OpNoMatch:
		return nil
	case syntax.OpEmptyMatch:
		return []prefix{{"", nothing}}
	case syntax.OpBeginText:
		return []prefix{{"", nothingIf(first)}}
	case syntax.OpEndText:
		return []prefix{{"", nothingIf(last)}}
	case syntax.OpLiteral:
		return []prefix{literal(re)}
	case syntax.OpCharClass:
		return class(re)
	case syntax.OpCapture:
		return prefixes(re.Sub[0], first, last)
	case syntax.OpConcat:
		return concat(re.Sub, first, last)
	case syntax.OpAlternate:
		return alternate(re.Sub, first, last)
	case syntax.OpQuest: // x or nothing
		return append(prefixes(re.Sub[0], first, last), prefix{"", nothing})
	case syntax.OpStar:
		if isAny(re.Sub[0]) {
			return []prefix{{"", anything}}
		}
	case syntax.OpPlus:
		if isAny(re.Sub[0]) {
			return []prefix{{"", something}}
		}
		return open(prefixes(re.Sub[0], false, false))
	case syntax.OpRepeat:
		if re.Min > 0 {
			return open(prefixes(re.Sub[0], false, false))
		}
	}
	return []prefix{{"", unknown}}
}

func nothingIf(b bool) rest {
	if b {
		return nothing
	}
	return unknown
}

func isAny(re *syntax.Regexp) bool {
	return re.Op == syntax.OpAnyChar || re.Op == syntax.OpAnyCharNotNL
}

// literal returns the prefix of a literal: up to the first character that no name on Envoy's page has.
func literal(re *syntax.Regexp) prefix {
	if re.Flags&syntax.FoldCase != 0 {
		return prefix{"", unknown}
	}
	text := string(re.Rune)
	if end := strings.IndexFunc(text, func(r rune) bool { return !isNameRune(r) }); end >= 0 {
		return prefix{text[:end], unknown}
	}
	return prefix{text, nothing}
}

func isNameRune(r rune) bool {
	return r == '_' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
}

// maxClass is how many characters of a class become alternatives: [12] does, [a-z] does not.
const maxClass = 10

func class(re *syntax.Regexp) (all []prefix) {
	for i := 0; i < len(re.Rune); i += 2 {
		for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
			if !isNameRune(r) || len(all) == maxClass {
				return []prefix{{"", unknown}}
			}
			all = append(all, prefix{string(r), nothing})
		}
	}
	return all
}

func concat(subs []*syntax.Regexp, first, last bool) []prefix {
	all := []prefix{{"", nothing}}
	for i, sub := range subs {
		if !slices.ContainsFunc(all, func(p prefix) bool { return p.rest != unknown }) {
			break
		}
		all = product(all, prefixes(sub, first && i == 0, last && i == len(subs)-1))
	}
	return all
}

// product returns the prefixes of names that begin with one of a, and go on with one of b.
func product(a, b []prefix) (all []prefix) {
	if len(a)*len(b) > maxPrefixes {
		return open(a)
	}
	for _, p := range a {
		for _, q := range b {
			if next := p.then(q); len(all) == 0 || all[len(all)-1] != next {
				all = append(all, next)
			}
		}
	}
	return all
}

// then returns the prefix of what begins with p and goes on with q.
func (p prefix) then(q prefix) prefix {
	switch {
	case p.rest == nothing && len(p.text)+len(q.text) <= maxPrefixLength:
		return prefix{p.text + q.text, q.rest}
	case q.text == "" && q.rest == nothing:
		return p
	case q.text == "" && q.rest == anything && (p.rest == anything || p.rest == something):
		return p
	default:
		return prefix{p.text, unknown}
	}
}

func alternate(subs []*syntax.Regexp, first, last bool) (all []prefix) {
	for _, sub := range subs {
		all = append(all, prefixes(sub, first, last)...)
	}
	if len(all) > maxPrefixes {
		return []prefix{{"", unknown}}
	}
	return all
}

// open returns the prefixes with anything after them that is not known.
func open(all []prefix) []prefix {
	for i := range all {
		all[i].rest = unknown
	}
	return all
}

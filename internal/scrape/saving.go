package scrape

// LeftOut returns which part of the page of a target its filter leaves out: 0.62 is 62 % of the bytes. It compares the
// last page with the last whole one. known is false if pages have no filter, or if the last page was itself whole.
func (t *TargetStatus) LeftOut() (part float64, known bool) {
	left := leftOut(t.Filter, t.PageBytes, t.Whole)
	return float64(left) / float64(max(t.Whole.Bytes, 1)), left > 0
}

// LeftOut returns how many bytes of the whole page are not on this one; 0: none, or not known.
func (p *LastPage) LeftOut() int64 { return leftOut(p.Filter, p.Bytes, p.Whole) }

func leftOut(filter string, pageBytes int64, whole PageSize) int64 {
	if filter == "" || pageBytes <= 0 {
		return 0
	}
	return max(0, whole.Bytes-pageBytes)
}

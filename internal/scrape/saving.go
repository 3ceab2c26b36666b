package scrape

// LeftOut returns which part of the page of a target its filter leaves out: 0.62 is 62 % of the bytes. It compares the
// last page with the last whole one. known is false if pages have no filter, or if the last page was itself whole.
func (t *TargetStatus) LeftOut() (part float64, known bool) {
	return leftOut(t.Filter, t.PageBytes, t.Whole)
}

func leftOut(filter string, pageBytes int64, whole PageSize) (part float64, known bool) {
	if filter == "" || pageBytes <= 0 || pageBytes >= whole.Bytes {
		return 0, false
	}
	return 1 - float64(pageBytes)/float64(whole.Bytes), true
}

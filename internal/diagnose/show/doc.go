// Package show presents a diagnose.Report to people and programs. The page /pods, its JSON and plain text, and the
// command `envoy-scraper why` all use it, so that they say the same in the same words:
//
//   - Answer is the JSON of /api/v1/pods (answer.go). `why` reads it from a running process.
//   - Facts is what an API server says of a pod, as far as it matters (facts.go).
//   - Find and Nearest look pods up by the names that people type, such as cart-0 or deploy/reviews (find.go).
//   - WriteTable and WritePod write plain text for terminals, curl and grep (text.go).
//
// It only rearranges what it is given. Values that come from pods and targets may be hostile: text.go writes no control
// characters, and the caller of NewPod hides credentials.
package show

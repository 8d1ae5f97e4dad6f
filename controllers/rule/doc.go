// Package rule tells of a CommandRule, MaskingRule or AccessPolicy whether it compiles, judged by the
// compiler that the proxy uses, and how many Targets it selects. A rule that does not
// compile shuts them.
package rule

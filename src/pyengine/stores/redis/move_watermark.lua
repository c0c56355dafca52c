-- Moves a watermark when there is nothing else to write.
-- KEYS: the hash of watermarks.
-- ARGV: journal, after, to, before and behind, as in front.
-- Returns 0, or the refusal.
local refusal = watermark_refusal(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
if refusal then return refusal end
move_watermark(KEYS[1], ARGV[1], ARGV[3], ARGV[5])
return 0

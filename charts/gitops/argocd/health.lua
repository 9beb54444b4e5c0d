-- Health of a SelfRewardRun or ReFTRun for Argo CD.
local health = {status = "Progressing", message = "Waiting for the operator"}
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  conditions[condition.type] = condition
end

-- The first of these that is true decides; a run that is none of them is at work.
local words = {
  {"Stalled", "Degraded"},
  {"Suspended", "Suspended"},
  {"Ready", "Healthy"},
  {"Reconciling", "Progressing"},
}
for _, word in ipairs(words) do
  local condition = conditions[word[1]]
  if condition ~= nil and condition.status == "True" then
    health.status = word[2]
    health.message = condition.reason .. ": " .. condition.message
    break
  end
end

-- The condition Degraded is a warning about a run that goes on: shown, but no reason for alarm.
local warning = conditions["Degraded"]
if warning ~= nil and warning.status == "True" then
  health.message = health.message .. " (warning: " .. warning.message .. ")"
end
return health

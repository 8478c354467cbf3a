/** The topic that an announcement is addressed to; `notifications/announcements.py::topic_of` says the same. */
export const topicOf = ({ team }) => (team ? `team.${team.id}` : "group.announcements");

/* Every page of a signed-in person: its elements first, so that none misses an event, then the connection. */

import "./elements/hub-time.js";
import "./elements/hub-clock.js";
import "./elements/hub-connection.js";
import "./elements/hub-bell.js";
import "./elements/hub-toasts.js";
import "./elements/hub-keys.js";
import "./elements/hub-inbox.js";
import "./elements/hub-needs.js";
import "./elements/hub-announcements.js";
import "./elements/hub-edit.js";
import "./elements/hub-activity.js";
import "./elements/hub-jobs-count.js";
import "./elements/hub-jobs.js";
import "./elements/hub-rooms-count.js";
import "./elements/hub-rooms-news.js";
import "./elements/hub-log.js";
import "./elements/hub-job.js";
import "./elements/hub-start.js";
import "./elements/hub-workers.js";
import "./elements/hub-running.js";
import "./elements/hub-today.js";
import "./elements/hub-people.js";
import "./elements/hub-chart.js";
import "./elements/hub-permission.js";
import "./elements/hub-copy.js";
import "./desktop.js";
import { hub } from "./client.js";

const { user, cursor } = document.body.dataset;

// Somebody else has signed in with this browser: this page is not theirs.
hub.on("stranger", () => location.reload());

if (user) hub.start({ cursor: cursor || null, user });

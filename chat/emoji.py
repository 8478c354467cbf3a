"""Shortcodes: the names that chat programs share for the emoji people use, `:tada:` for 🎉."""

from __future__ import annotations

from typing import Final

_FACES: Final = """
grinning 😀  smiley 😃  smile 😄  grin 😁  laughing 😆  satisfied 😆  sweat_smile 😅  rofl 🤣  joy 😂
slightly_smiling_face 🙂  upside_down_face 🙃  melting_face 🫠  wink 😉  blush 😊  innocent 😇  smiling_face_with_three_hearts 🥰
heart_eyes 😍  star_struck 🤩  kissing_heart 😘  kissing 😗  yum 😋  stuck_out_tongue 😛  stuck_out_tongue_winking_eye 😜
zany_face 🤪  money_mouth_face 🤑  hugs 🤗  hand_over_mouth 🤭  shushing_face 🤫  thinking 🤔  saluting_face 🫡
zipper_mouth_face 🤐  raised_eyebrow 🤨  neutral_face 😐  expressionless 😑  no_mouth 😶  smirk 😏  unamused 😒
roll_eyes 🙄  grimacing 😬  relieved 😌  pensive 😔  sleepy 😪  drooling_face 🤤  sleeping 😴  mask 😷
face_with_thermometer 🤒  face_with_head_bandage 🤕  nauseated_face 🤢  sneezing_face 🤧  hot_face 🥵  cold_face 🥶
dizzy_face 😵  exploding_head 🤯  cowboy_hat_face 🤠  partying_face 🥳  sunglasses 😎  nerd_face 🤓  monocle_face 🧐
confused 😕  worried 😟  slightly_frowning_face 🙁  open_mouth 😮  hushed 😯  astonished 😲  flushed 😳  pleading_face 🥺
frowning 😦  anguished 😧  fearful 😨  cold_sweat 😰  disappointed_relieved 😥  cry 😢  sob 😭  scream 😱  confounded 😖
persevere 😣  disappointed 😞  sweat 😓  weary 😩  tired_face 😫  yawning_face 🥱  triumph 😤  rage 😡  angry 😠
smiling_imp 😈  skull 💀  ghost 👻  alien 👽  robot 🤖  poop 💩  clown_face 🤡
see_no_evil 🙈  hear_no_evil 🙉  speak_no_evil 🙊
"""
_HANDS: Final = """
wave 👋  raised_hand ✋  hand ✋  vulcan_salute 🖖  ok_hand 👌  pinching_hand 🤏  v ✌️  crossed_fingers 🤞  metal 🤘
call_me_hand 🤙  point_left 👈  point_right 👉  point_up_2 👆  point_down 👇  point_up ☝️  +1 👍  thumbsup 👍  -1 👎
thumbsdown 👎  fist ✊  facepunch 👊  punch 👊  clap 👏  raised_hands 🙌  heart_hands 🫶  open_hands 👐  handshake 🤝
pray 🙏  writing_hand ✍️  nail_care 💅  muscle 💪  ear 👂  brain 🧠  eyes 👀  eye 👁️  bow 🙇  shrug 🤷  facepalm 🤦
raising_hand 🙋  no_good 🙅  ok_person 🙆  technologist 🧑‍💻  detective 🕵️  ninja 🥷  running 🏃  walking 🚶
"""
_HEARTS: Final = """
heart ❤️  orange_heart 🧡  yellow_heart 💛  green_heart 💚  blue_heart 💙  purple_heart 💜  black_heart 🖤  white_heart 🤍
broken_heart 💔  two_hearts 💕  sparkling_heart 💖  sparkles ✨  star ⭐  star2 🌟  zap ⚡  boom 💥  collision 💥  dizzy 💫
sweat_drops 💦  dash 💨  100 💯  anger 💢  speech_balloon 💬  thought_balloon 💭  zzz 💤  fire 🔥  rainbow 🌈  sunny ☀️
cloud ☁️  rain_cloud 🌧️  snowflake ❄️  snowman ⛄  umbrella ☔  ocean 🌊  droplet 💧  moon 🌔  earth_asia 🌏
earth_africa 🌍  earth_americas 🌎
"""
_THINGS: Final = """
tada 🎉  confetti_ball 🎊  balloon 🎈  gift 🎁  trophy 🏆  1st_place_medal 🥇  2nd_place_medal 🥈  3rd_place_medal 🥉
medal_sports 🏅  dart 🎯  game_die 🎲  jigsaw 🧩  art 🎨  musical_note 🎵  headphones 🎧  microphone 🎤  movie_camera 🎥
camera 📷  tv 📺  computer 💻  desktop_computer 🖥️  keyboard ⌨️  printer 🖨️  floppy_disk 💾  cd 💿  iphone 📱  phone ☎️
telephone ☎️  battery 🔋  electric_plug 🔌  bulb 💡  flashlight 🔦  candle 🕯️  moneybag 💰  credit_card 💳  chart 💹
wrench 🔧  hammer 🔨  hammer_and_wrench 🛠️  nut_and_bolt 🔩  gear ⚙️  toolbox 🧰  magnet 🧲  test_tube 🧪  microscope 🔬
telescope 🔭  satellite 📡  syringe 💉  pill 💊  bandage 🩹  door 🚪  bed 🛏️  broom 🧹  shopping_cart 🛒  key 🔑  lock 🔒
unlock 🔓  closed_lock_with_key 🔐  shield 🛡️  bomb 💣  mag 🔍  mag_right 🔎  link 🔗  paperclip 📎  pushpin 📌
round_pushpin 📍  scissors ✂️  straight_ruler 📏  pencil 📝  memo 📝  pencil2 ✏️  black_nib ✒️  book 📖  books 📚
notebook 📓  newspaper 📰  bookmark 🔖  label 🏷️  email ✉️  envelope ✉️  e-mail 📧  inbox_tray 📥  outbox_tray 📤
package 📦  mailbox 📫  file_folder 📁  open_file_folder 📂  clipboard 📋  calendar 📆  date 📅  chart_with_upwards_trend 📈
chart_with_downwards_trend 📉  bar_chart 📊  wastebasket 🗑️  hourglass ⌛  hourglass_flowing_sand ⏳  watch ⌚
alarm_clock ⏰  stopwatch ⏱️  bell 🔔  no_bell 🔕  loudspeaker 📢  mega 📣  construction 🚧  rotating_light 🚨
traffic_light 🚥  checkered_flag 🏁  triangular_flag_on_post 🚩  white_flag 🏳️  kr 🇰🇷  us 🇺🇸
"""
_PLACES: Final = """
rocket 🚀  airplane ✈️  helicopter 🚁  car 🚗  taxi 🚕  bus 🚌  truck 🚚  ambulance 🚑  fire_engine 🚒  bike 🚲  train 🚆
metro 🚇  ship 🚢  boat ⛵  anchor ⚓  house 🏠  office 🏢  hospital 🏥  bank 🏦  school 🏫  factory 🏭  tent ⛺
mountain ⛰️  beach_umbrella 🏖️  world_map 🗺️  sunrise 🌅  night_with_stars 🌃
"""
_NATURE: Final = """
dog 🐶  cat 🐱  mouse 🐭  rabbit 🐰  fox_face 🦊  bear 🐻  panda_face 🐼  tiger 🐯  lion 🦁  cow 🐮  pig 🐷  frog 🐸
monkey 🐒  chicken 🐔  penguin 🐧  bird 🐦  duck 🦆  eagle 🦅  owl 🦉  bee 🐝  bug 🐛  butterfly 🦋  snail 🐌  turtle 🐢
snake 🐍  dragon 🐉  whale 🐳  dolphin 🐬  fish 🐟  octopus 🐙  crab 🦀  unicorn 🦄  sloth 🦥  goat 🐐  elephant 🐘
seedling 🌱  evergreen_tree 🌲  deciduous_tree 🌳  palm_tree 🌴  cactus 🌵  herb 🌿  four_leaf_clover 🍀  maple_leaf 🍁
fallen_leaf 🍂  mushroom 🍄  bouquet 💐  tulip 🌷  rose 🌹  sunflower 🌻  cherry_blossom 🌸  hibiscus 🌺
"""
_FOOD: Final = """
coffee ☕  tea 🍵  beer 🍺  beers 🍻  wine_glass 🍷  cocktail 🍸  champagne 🍾  clinking_glasses 🥂  sake 🍶  milk_glass 🥛
apple 🍎  green_apple 🍏  banana 🍌  watermelon 🍉  grapes 🍇  strawberry 🍓  peach 🍑  lemon 🍋  cherries 🍒  avocado 🥑
hot_pepper 🌶️  corn 🌽  bread 🍞  croissant 🥐  cheese 🧀  egg 🥚  bacon 🥓  hamburger 🍔  fries 🍟  pizza 🍕  hotdog 🌭
sandwich 🥪  taco 🌮  burrito 🌯  salad 🥗  ramen 🍜  rice 🍚  sushi 🍣  bento 🍱  dumpling 🥟  icecream 🍦  doughnut 🍩
cookie 🍪  birthday 🎂  cake 🍰  chocolate_bar 🍫  candy 🍬  popcorn 🍿  salt 🧂  fork_and_knife 🍴
"""
_SIGNS: Final = """
white_check_mark ✅  heavy_check_mark ✔️  ballot_box_with_check ☑️  x ❌  heavy_multiplication_x ✖️  question ❓
grey_question ❔  exclamation ❗  heavy_exclamation_mark ❗  bangbang ‼️  interrobang ⁉️  warning ⚠️  no_entry ⛔
no_entry_sign 🚫  stop_sign 🛑  octagonal_sign 🛑  recycle ♻️  infinity ♾️  information_source ℹ️  new 🆕  free 🆓  up 🆙
cool 🆒  ok 🆗  sos 🆘  top 🔝  soon 🔜  back 🔙  end 🔚  on 🔛  red_circle 🔴  orange_circle 🟠  yellow_circle 🟡
green_circle 🟢  large_blue_circle 🔵  purple_circle 🟣  black_circle ⚫  white_circle ⚪  heavy_plus_sign ➕
heavy_minus_sign ➖  arrow_up ⬆️  arrow_down ⬇️  arrow_left ⬅️  arrow_right ➡️  arrows_counterclockwise 🔄
arrow_forward ▶️  pause_button ⏸️  stop_button ⏹️  record_button ⏺️  fast_forward ⏩  rewind ⏪  repeat 🔁
mute 🔇  sound 🔉  speaker 🔈  zero 0️⃣  one 1️⃣  two 2️⃣  three 3️⃣  four 4️⃣  five 5️⃣  six 6️⃣  seven 7️⃣  eight 8️⃣  nine 9️⃣
keycap_ten 🔟  hash #️⃣  copyright ©️  registered ®️  tm ™️
"""


def _pairs() -> dict[str, str]:
    words = f"{_FACES}{_HANDS}{_HEARTS}{_THINGS}{_PLACES}{_NATURE}{_FOOD}{_SIGNS}".split()
    return dict(zip(words[::2], words[1::2], strict=True))


SHORTCODES: Final = _pairs()
